using System.Runtime.Intrinsics;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.Engine.Compute.Reference;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>Each kernel against its definition.</summary>
public sealed unsafe class KernelTests
{
    public static TheoryData<VectorWidth> Widths { get; } = [.. Enum.GetValues<VectorWidth>()];

    [Theory]
    [MemberData(nameof(Widths))]
    public void A_matrix_product_is_the_same_chain_of_multiply_adds_at_every_shape_and_width(VectorWidth width)
    {
        var random = new Random(7);
        var kernels = GemmKernels.For(width);
        for (int trial = 0; trial < 90; trial++)
        {
            int rows = random.Next(3) == 0 ? random.Next(12, 40) : random.Next(1, 12);
            int inputs = random.Next(3) == 0 ? random.Next(250, 600) : random.Next(1, 70);
            int outputs = random.Next(1, 100);
            var format = (PanelFormat)(trial % 3);
            float[] weights = Randoms(random, outputs * inputs);
            if (format == PanelFormat.BFloat16)
            {
                weights = [.. weights.Select(Truncated)];
            }

            float[] x = Randoms(random, rows * inputs);
            float[] bias = Randoms(random, outputs);
            using var matrix = Pack(weights, bias, outputs, inputs, format);
            Assert.Equal(format, matrix.Format);
            Assert.Equal(
                format == PanelFormat.Int8
                    ? ReferenceKernels.MultiplyInt8(x, weights, bias, rows, inputs, outputs)
                    : ReferenceKernels.MultiplyChain(x, weights, bias, rows, inputs, outputs),
                Multiply(kernels, matrix, x, rows, random));
        }
    }

    [Theory]
    [MemberData(nameof(Widths))]
    public void Products_with_int8_weights_are_exact_for_every_size_of_numbers(VectorWidth width)
    {
        var random = new Random(17);
        const int Rows = 9, Inputs = 80, Outputs = 20;
        for (int trial = 0; trial < 20; trial++)
        {
            // Groups of all sizes from denormal to huge, some of them zero.
            float Sized(float value, int group) => value * (float)Math.ScaleB(1, new Random(trial * 100 + group).Next(-60, 61));
            float[] weights = [.. Randoms(random, Outputs * Inputs).Select((value, i) => i / 32 % 5 == 0 ? 0 : Sized(value, i / 32 % 7))];
            float[] x = [.. Randoms(random, Rows * Inputs).Select((value, i) => i / 32 % 4 == 0 ? 0 : Sized(value, i / 32 % 9))];
            x[0] = float.Epsilon;
            x[40] = -1.9999999f;
            x[72] = 3e38f;
            float[] bias = Randoms(random, Outputs);
            using var matrix = Pack(weights, bias, Outputs, Inputs, PanelFormat.Int8);
            Assert.Equal(ReferenceKernels.MultiplyInt8(x, weights, bias, Rows, Inputs, Outputs), Multiply(GemmKernels.For(width), matrix, x, Rows, random));

            x[^1] = trial % 2 == 0 ? float.NaN : float.NegativeInfinity;
            float[] broken = Multiply(GemmKernels.For(width), matrix, x, Rows, random);
            Assert.All(broken[^Outputs..], value => Assert.True(float.IsNaN(value)));
            Assert.DoesNotContain(float.NaN, broken[..^Outputs]);
        }
    }

    [Fact]
    public void A_packed_matrix_gives_its_rows_back()
    {
        var random = new Random(3);
        foreach (var format in Enum.GetValues<PanelFormat>())
        {
            float[] weights = [.. Randoms(random, 37 * 75).Select(Truncated)];
            using var matrix = Pack(weights, new float[37], 37, 75, format);
            var row = new float[75];
            for (int output = 0; output < 37; output++)
            {
                fixed (float* pointer = row)
                {
                    matrix.ReadRow(output, pointer);
                }

                for (int group = 0; group < 75; group += 32)
                {
                    var expected = weights.AsSpan(output * 75, 75)[group..Math.Min(75, group + 32)].ToArray();
                    float step = format == PanelFormat.Int8 ? expected.Max(Math.Abs) / 127 : 0;
                    Assert.All(expected, (value, i) => Assert.Equal(value, row[group + i], 0.504f * step));
                }
            }
        }
    }

    [Fact]
    public void Rounding_to_bf16_takes_the_nearest_and_keeps_finite_numbers_finite()
    {
        Assert.Equal(1f, BFloat16.ToSingle(BFloat16.Round(1.00390625f)));
        Assert.Equal(1.015625f, BFloat16.ToSingle(BFloat16.Round(1.01171875f)));
        Assert.Equal(-1.0078125f, BFloat16.ToSingle(BFloat16.Round(-1.004f)));
        Assert.Equal(3.3895314e38f, BFloat16.ToSingle(BFloat16.Round(float.MaxValue)));
        Assert.Equal(-3.3895314e38f, BFloat16.ToSingle(BFloat16.Round(float.MinValue)));
        Assert.Equal(float.NegativeInfinity, BFloat16.ToSingle(BFloat16.Round(float.NegativeInfinity)));
        Assert.True(float.IsNaN(BFloat16.ToSingle(BFloat16.Round(BitConverter.UInt32BitsToSingle(0x7f800001)))));
    }

    [Fact]
    public void The_exponential_is_within_two_units_in_the_last_place()
    {
        for (float x = -87.3f; x < 88.3f; x += 0.00371f)
        {
            float actual = VectorMath.Exp(Vector256.Create(x)).ToScalar();
            double expected = Math.Exp(x);
            Assert.True(Math.Abs(actual - expected) <= 2 * (MathF.BitIncrement((float)expected) - (float)expected), $"e^{x} = {expected}, got {actual}");
        }

        Assert.Equal(0f, VectorMath.Exp(Vector256.Create(float.NegativeInfinity)).ToScalar());
        Assert.Equal(0f, VectorMath.Exp(Vector256.Create(-100f)).ToScalar());
        Assert.Equal(1f, VectorMath.Exp(Vector256.Create(0f)).ToScalar());
        Assert.True(float.IsFinite(VectorMath.Exp(Vector256.Create(1000f)).ToScalar()));
        Assert.True(float.IsNaN(VectorMath.Exp(Vector256.Create(float.NaN)).ToScalar()));
    }

    [Fact]
    public void Row_kernels_agree_with_their_definitions_at_every_length()
    {
        var random = new Random(11);
        for (int count = 1; count < 60; count++)
        {
            float[] a = Randoms(random, count);
            float[] b = Randoms(random, count);
            using var left = Copy(a);
            using var right = Copy(b);
            using var result = NativeBuffer.OfFloats(count + 8);
            result.Floats[count] = 777f;

            foreach (var activation in Enum.GetValues<Activation>())
            {
                RowKernels.ActivateMultiply(activation, left.Floats, right.Floats, result.Floats, count);
                AssertClose(ReferenceKernels.ActivateMultiply(activation, Doubles(a), Doubles(b)), result, count);
            }

            RowKernels.AddScaled(result.Floats, left.Floats, 0.75f, count);
            AssertClose([.. ReferenceKernels.ActivateMultiply(Activation.GeluTanh, Doubles(a), Doubles(b)).Zip(a, (y, x) => y + 0.75 * x)], result, count);
            RowKernels.SoftCap(result.Floats, 0.3f, count);
            RowKernels.Scale(result.Floats, 2, count);
            AssertClose(
                [.. ReferenceKernels.SoftCap([.. ReferenceKernels.ActivateMultiply(Activation.GeluTanh, Doubles(a), Doubles(b)).Zip(a, (y, x) => y + 0.75 * x)], 0.3f).Select(x => 2 * x)],
                result,
                count);
            RowKernels.RmsNorm(left.Floats, right.Floats, result.Floats, count, 1e-5f);
            AssertClose(ReferenceKernels.RmsNorm(Doubles(a), Doubles(b), 1e-5f), result, count);
            RowKernels.Add(left.Floats, right.Floats, count);
            AssertClose([.. a.Zip(b, (x, y) => (double)x + y)], left, count);
            Assert.Equal(777f, result.Floats[count]);
        }
    }

    [Fact]
    public void The_hyperbolic_tangent_is_right_to_a_few_units_in_the_last_place_everywhere()
    {
        for (float x = 1e-6f; x < 40; x *= 1.003f)
        {
            double expected = Math.Tanh(x);
            Assert.Equal(expected, VectorMath.Tanh(Vector256.Create(x))[3], 3e-7 * expected);
            Assert.Equal(-expected, VectorMath.Tanh(Vector256.Create(-x))[5], 3e-7 * expected);
        }

        Assert.Equal(0f, VectorMath.Tanh(Vector256.Create(0f))[0]);
        Assert.Equal(1f, VectorMath.Tanh(Vector256.Create(1e30f))[0]);
    }

    [Fact]
    public void Rotation_agrees_with_its_definition_in_place_and_out_of_place()
    {
        var random = new Random(5);
        for (int half = 4; half <= 64; half += 4)
        {
            var frequencies = RopeConfig.Plain(10000, 2 * half).Frequencies;
            float[] x = Randoms(random, 2 * half);
            int position = random.Next(4000);
            var expected = ReferenceKernels.Rotate(Doubles(x), 2 * half, position, frequencies);
            using var cos = Copy([.. frequencies.Select(frequency => (float)Math.Cos(position * frequency))]);
            using var sin = Copy([.. frequencies.Select(frequency => (float)Math.Sin(position * frequency))]);
            using var source = Copy(x);
            using var result = NativeBuffer.OfFloats(2 * half);
            RowKernels.Rotate(source.Floats, cos.Floats, sin.Floats, result.Floats, half);
            AssertClose(expected, result, 2 * half);
            RowKernels.Rotate(source.Floats, cos.Floats, sin.Floats, source.Floats, half);
            AssertClose(expected, source, 2 * half);
        }
    }

    [Fact]
    public void Attention_over_a_run_agrees_with_its_definition_however_the_run_is_cut()
    {
        var random = new Random(13);
        for (int trial = 0; trial < 100; trial++)
        {
            int headDim = 8 * random.Next(1, 20);
            int heads = random.Next(1, 5);
            int count = random.Next(1, 40);
            float[] q = Randoms(random, heads * headDim);
            float[] k = Randoms(random, count * headDim);
            float[] v = Randoms(random, count * headDim);
            float[] whole = Attend(q, k, v, heads, headDim, [count]);
            for (int head = 0; head < heads; head++)
            {
                float[] query = q[(head * headDim)..((head + 1) * headDim)];
                var expected = ReferenceKernels.Attend(Doubles(query), Rows(k, headDim), Rows(v, headDim), 1 / Math.Sqrt(headDim), softCap: null);
                Assert.All(expected, (value, d) => Assert.Equal(value, whole[head * headDim + d], 1e-5));
                Assert.Equal(whole[(head * headDim)..((head + 1) * headDim)], Attend(query, k, v, 1, headDim, [count]));
            }

            int cut = random.Next(count + 1);
            Assert.Equal(whole, Attend(q, k, v, heads, headDim, [cut, count - cut]));
            Assert.Equal(whole, Attend(q, k, v, heads, headDim, [.. Enumerable.Repeat(1, count)]));
        }
    }

    [Fact]
    public void Attention_of_many_queries_at_once_gives_the_bits_of_each_alone()
    {
        var random = new Random(19);
        for (int trial = 0; trial < 60; trial++)
        {
            int headDim = 8 * random.Next(1, 20);
            int queries = random.Next(1, 30);
            int count = random.Next(1, AttentionTiles.RunTokens + 1);
            float scale = (float)(1 / Math.Sqrt(headDim));
            float[] q = Randoms(random, queries * headDim);
            float[] kv = Randoms(random, AttentionTiles.RunTokens * headDim);
            const int Stride = AttentionTiles.RunTokens + 8;
            using var rows = Copy(kv);
            using var source = Copy(q);
            using var columns = NativeBuffer.OfFloats(AttentionTiles.RunTokens * headDim);
            using var packed = NativeBuffer.OfFloats((queries + AttentionTiles.TileQueries) * headDim);
            using var scores = NativeBuffer.OfFloats(queries * Stride);
            using var outputs = Copy(Randoms(random, queries * headDim));
            using var expected = NativeBuffer.OfFloats(Stride);
            using var expectedOutput = NativeBuffer.OfFloats(headDim);
            var scoreRows = Enumerable.Range(0, queries).Select(i => (nint)(scores.Floats + i * Stride)).ToArray();
            var outputRows = Enumerable.Range(0, queries).Select(i => (nint)(outputs.Floats + i * headDim)).ToArray();
            float[] before = new Span<float>(outputs.Floats, queries * headDim).ToArray();
            for (int i = 0; i < queries; i++)
            {
                AttentionTiles.Pack(source.Floats + i * headDim, i, headDim, packed.Floats);
            }

            AttentionTiles.Transpose(rows.Floats, count, headDim, columns.Floats);
            AttentionTiles.Scores(packed.Floats, columns.Floats, count, headDim, scale, scoreRows);
            AttentionTiles.Accumulate(scoreRows, rows.Floats, count, headDim, outputRows);
            for (int i = 0; i < queries; i++)
            {
                AttentionKernels.Scores(source.Floats + i * headDim, 1, rows.Floats, count, headDim, scale, expected.Floats, Stride);
                Assert.Equal(new Span<float>(expected.Floats, count).ToArray(), new Span<float>(scores.Floats + i * Stride, count).ToArray());
                before.AsSpan(i * headDim, headDim).CopyTo(new Span<float>(expectedOutput.Floats, headDim));
                AttentionKernels.Accumulate(expected.Floats, Stride, 1, rows.Floats, count, headDim, expectedOutput.Floats);
                Assert.Equal(new Span<float>(expectedOutput.Floats, headDim).ToArray(), new Span<float>(outputs.Floats + i * headDim, headDim).ToArray());
            }
        }
    }

    [Fact]
    public void Llama3_scaling_keeps_high_frequencies_divides_low_ones_and_blends_between()
    {
        // Llama 3.1: theta 500000, head 128, factor 8, low 1, high 4, original context 8192. Wavelengths below 2048 are kept, above 8192 divided.
        var plain = RopeConfig.Plain(500000, 128).Frequencies;
        var scaled = RopeConfig.Llama3(500000, 128, 8, 1, 4, 8192).Frequencies;
        for (int i = 0; i < 64; i++)
        {
            double wavelength = 2 * Math.PI * Math.Pow(500000, i / 64.0);
            double expected = wavelength < 2048 ? 1 : wavelength > 8192 ? 0.125 : 0.125 + 0.875 * (8192 / wavelength - 1) / 3;
            Assert.Equal(expected, scaled[i] / plain[i], 1e-12);
        }

        Assert.Equal(1.0, plain[0]);
        Assert.Equal(0.25, RopeConfig.Linear(10000, 8, 4).Frequencies[0]);
    }

    /// <summary>Attention of heads that share keys and values, which come in runs of the given lengths.</summary>
    private static float[] Attend(float[] q, float[] k, float[] v, int heads, int headDim, int[] runs)
    {
        int count = runs.Sum();
        int stride = count + 8;
        using var scores = NativeBuffer.OfFloats(heads * stride);
        var output = new float[heads * headDim];
        fixed (float* query = q, keys = k, values = v, result = output)
        {
            for (int t = 0, run = 0; run < runs.Length; t += runs[run++])
            {
                AttentionKernels.Scores(query, heads, keys + t * headDim, runs[run], headDim, (float)(1 / Math.Sqrt(headDim)), scores.Floats + t, stride);
            }

            float[] sums = [.. Enumerable.Range(0, heads).Select(head => AttentionKernels.Exponentials(scores.Floats + head * stride, count))];
            for (int t = 0, run = 0; run < runs.Length; t += runs[run++])
            {
                AttentionKernels.Accumulate(scores.Floats + t, stride, heads, values + t * headDim, runs[run], headDim, result);
            }

            for (int head = 0; head < heads; head++)
            {
                AttentionKernels.Divide(result + head * headDim, sums[head], headDim);
            }
        }

        return output;
    }

    private static float Truncated(float value) => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) & 0xFFFF0000);

    /// <summary>The product, computed in two blocks of panels.</summary>
    private static float[] Multiply(GemmKernels kernels, PackedMatrix matrix, float[] x, int rows, Random random)
    {
        int stride = (matrix.Inputs + 15) / 16 * 16;
        bool int8 = matrix.Format == PanelFormat.Int8;
        int rowBytes = int8 ? Int8Inputs.RowBytes(matrix.Inputs) : stride * sizeof(float);
        using var padded = NativeBuffer.OfFloats(rows * stride);
        using var groups = new NativeBuffer(rows * rowBytes);
        for (int row = 0; row < rows; row++)
        {
            x.AsSpan(row * matrix.Inputs, matrix.Inputs).CopyTo(new Span<float>(padded.Floats + row * stride, matrix.Inputs));
            if (int8)
            {
                Int8Inputs.Write(padded.Floats + row * stride, matrix.Inputs, groups.Pointer + row * rowBytes);
            }
        }

        // Exact outputs: the element after the last one must survive.
        var actual = new float[rows * matrix.Outputs + 1];
        actual[^1] = 12345f;
        fixed (float* pointer = actual)
        {
            int split = random.Next(0, matrix.PanelCount);
            foreach (var (first, count) in new[] { (0, split), (split, matrix.PanelCount - split) })
            {
                if (count > 0)
                {
                    kernels.Multiply(new GemmBlock
                    {
                        Matrix = matrix,
                        Inputs = int8 ? groups.Pointer : padded.Pointer,
                        InputStride = rowBytes,
                        Rows = rows,
                        FirstPanel = first,
                        Panels = count,
                        Outputs = pointer,
                        OutputStride = matrix.Outputs,
                        ExactOutputs = true,
                    });
                }
            }
        }

        Assert.Equal(12345f, actual[^1]);
        return actual[..^1];
    }

    private static PackedMatrix Pack(float[] weights, float[] bias, int outputs, int inputs, PanelFormat format)
    {
        bool half = format == PanelFormat.BFloat16;
        ushort[] halves = [.. weights.Select(value => (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16))];
        fixed (float* pointer = weights, biasPointer = bias)
        fixed (ushort* halfPointer = halves)
        {
            // Two parts of different heights, so that a panel straddles them.
            int top = outputs / 3;
            byte* data = half ? (byte*)halfPointer : (byte*)pointer;
            var type = half ? WeightType.BFloat16 : WeightType.Float32;
            return PackedMatrix.Pack(
                [new TensorView(data, type, top, inputs), new TensorView(data + top * inputs * (half ? 2 : 4), type, outputs - top, inputs)],
                [new TensorView((byte*)biasPointer, WeightType.Float32, 1, outputs)],
                (panels, pack) => Enumerable.Range(0, panels).ToList().ForEach(pack),
                format == PanelFormat.Int8 ? format : null);
        }
    }

    private static NativeBuffer Copy(float[] values)
    {
        var buffer = NativeBuffer.OfFloats(values.Length + 8);
        values.CopyTo(new Span<float>(buffer.Floats, values.Length));
        return buffer;
    }

    private static void AssertClose(double[] expected, NativeBuffer actual, int count)
    {
        for (int i = 0; i < count; i++)
        {
            Assert.Equal(expected[i], actual.Floats[i], 2e-6);
        }
    }

    private static float[] Randoms(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() * 2 - 1)];

    private static double[] Doubles(float[] values) => [.. values.Select(value => (double)value)];

    private static double[][] Rows(float[] values, int width) => [.. Doubles(values).Chunk(width)];
}
