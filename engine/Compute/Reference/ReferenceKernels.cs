using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Compute.Reference;

/// <summary>
/// The oracle of the fast kernels: the definition of each operation, written as loops, in double precision. Not used in serving.
/// </summary>
public static class ReferenceKernels
{
    /// <summary>
    /// outputs[r, o] = bias[o] + sum of inputs[r, i] * weights[o, i] in f32, one fused multiply-add after the other in ascending i:
    /// the very chain that the fast kernels promise, so they must agree bit for bit.
    /// </summary>
    public static float[] MultiplyChain(float[] inputs, float[] weights, float[] bias, int rows, int inputCount, int outputCount)
    {
        var outputs = new float[rows * outputCount];
        for (int row = 0; row < rows; row++)
        {
            for (int output = 0; output < outputCount; output++)
            {
                float sum = bias[output];
                for (int input = 0; input < inputCount; input++)
                {
                    sum = MathF.FusedMultiplyAdd(inputs[row * inputCount + input], weights[output * inputCount + input], sum);
                }

                outputs[row * outputCount + output] = sum;
            }
        }

        return outputs;
    }

    /// <summary>
    /// The same with weights in int8 and inputs in int16, in groups of 32 inputs with a scale each. A weight's scale is its group's largest over 127,
    /// rounded to bf16; an input's the power of two that brings its group's largest into [2^14, 2^15). Sums of a group are exact, then
    /// sum + group's sum * (input's scale * weight's scale), one fused multiply-add after the other in ascending order of the groups.
    /// </summary>
    public static float[] MultiplyInt8(float[] inputs, float[] weights, float[] bias, int rows, int inputCount, int outputCount)
    {
        const int Group = 32;
        var outputs = new float[rows * outputCount];
        for (int row = 0; row < rows; row++)
        {
            for (int output = 0; output < outputCount; output++)
            {
                float sum = bias[output];
                for (int first = 0; first < inputCount; first += Group)
                {
                    int count = Math.Min(Group, inputCount - first);
                    var x = inputs.AsSpan(row * inputCount + first, count);
                    var w = weights.AsSpan(output * inputCount + first, count);
                    double xScale = Math.ScaleB(1, Math.Max(Math.ILogB(Largest(x)), -100) - 14);
                    float wScale = NearestBFloat16(Largest(w) / 127);
                    long exact = 0;
                    for (int i = 0; i < count; i++)
                    {
                        exact += (long)Math.Min(Math.Round(x[i] / xScale), short.MaxValue) * (wScale == 0 ? 0 : (long)Math.Clamp(MathF.Round(w[i] / wScale), -127, 127));
                    }

                    sum = MathF.FusedMultiplyAdd(exact, (float)xScale * wScale, sum);
                }

                outputs[row * outputCount + output] = sum;
            }
        }

        return outputs;
    }

    /// <summary>weights * x + bias; weights are <c>[bias.Length, x.Length]</c>.</summary>
    public static double[] Multiply(double[] weights, double[] bias, double[] x)
    {
        var result = (double[])bias.Clone();
        for (int output = 0; output < result.Length; output++)
        {
            var row = weights.AsSpan(output * x.Length, x.Length);
            for (int input = 0; input < x.Length; input++)
            {
                result[output] += row[input] * x[input];
            }
        }

        return result;
    }

    public static double[] RmsNorm(double[] x, double[] weight, double epsilon)
    {
        double scale = 1 / Math.Sqrt(x.Sum(value => value * value) / x.Length + epsilon);
        return [.. x.Select((value, i) => value * scale * weight[i])];
    }

    /// <summary>
    /// Rotates each head of x by the position: pair (i, i + pairs) by position * frequencies[i], and multiplies it by the magnitude; elements of a head
    /// behind the pairs stay as they are.
    /// </summary>
    public static double[] Rotate(double[] x, int headDim, int position, IReadOnlyList<double> frequencies, double magnitude = 1)
    {
        var rotated = (double[])x.Clone();
        int pairs = frequencies.Count;
        for (int head = 0; head < x.Length; head += headDim)
        {
            for (int i = 0; i < pairs; i++)
            {
                var (sin, cos) = Math.SinCos(position * frequencies[i]);
                rotated[head + i] = magnitude * (x[head + i] * cos - x[head + pairs + i] * sin);
                rotated[head + pairs + i] = magnitude * (x[head + pairs + i] * cos + x[head + i] * sin);
            }
        }

        return rotated;
    }

    /// <summary>Attention of one query head over the visible tokens' keys and values of its key/value head.</summary>
    public static double[] Attend(double[] query, IReadOnlyList<double[]> keys, IReadOnlyList<double[]> values, double scale, float? softCap)
    {
        var weights = Softmax(SoftCap([.. keys.Select(key => query.Zip(key, (q, k) => q * k).Sum() * scale)], softCap));
        var result = new double[query.Length];
        for (int t = 0; t < weights.Length; t++)
        {
            for (int d = 0; d < result.Length; d++)
            {
                result[d] += weights[t] * values[t][d];
            }
        }

        return result;
    }

    public static double[] Softmax(double[] x)
    {
        double max = x.Max();
        double[] weights = [.. x.Select(value => Math.Exp(value - max))];
        double sum = weights.Sum();
        return [.. weights.Select(weight => weight / sum)];
    }

    /// <summary>cap * tanh(x / cap); x itself without a cap.</summary>
    public static double[] SoftCap(double[] x, float? cap) => cap is { } limit ? [.. x.Select(value => limit * Math.Tanh(value / limit))] : x;

    public static double Activate(Activation activation, double x) => activation == Activation.Silu
        ? x / (1 + Math.Exp(-x))
        : 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));

    public static double[] ActivateMultiply(Activation activation, double[] gate, double[] up) =>
        [.. gate.Zip(up, (g, u) => Activate(activation, g) * u)];

    private static float Largest(ReadOnlySpan<float> values)
    {
        float largest = 0;
        foreach (float value in values)
        {
            largest = Math.Max(largest, Math.Abs(value));
        }

        return largest;
    }

    /// <summary>Of the two bf16 around it the nearer one; of two as near the even one.</summary>
    private static float NearestBFloat16(float value)
    {
        uint below = BitConverter.SingleToUInt32Bits(value) >> 16;
        float low = BitConverter.UInt32BitsToSingle(below << 16), high = BitConverter.UInt32BitsToSingle((below + 1) << 16);
        double down = (double)value - low, up = (double)high - value;
        return down < up || (down == up && below % 2 == 0) ? low : high;
    }
}
