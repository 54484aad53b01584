using System.Globalization;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.ComputeBenchmarks;

/// <summary>One matrix product at the shapes of decode and prefill: bytes of weights a second, and operations a second.</summary>
internal static unsafe class GemmBenchmark
{
    public static void Run(Measure measure, WorkerTeam team, double bandwidth, double flops)
    {
        foreach (var (inputs, outputs) in new[] { (2048, 16384), (1024, 2816), (192, 1024) })
        {
            foreach (var type in new[] { WeightType.BFloat16, WeightType.Float32 })
            {
                using var weights = new NativeBuffer((long)inputs * outputs * 4);
                var random = new Random(1);
                random.NextBytes(new Span<byte>(weights.Pointer, (int)weights.Bytes));
                ClearExponents(weights, type);
                using var matrix = PackedMatrix.Pack(
                    [new TensorView(weights.Pointer, type, outputs, inputs)], [], (panels, pack) => team.For(panels, (panel, _) => pack(panel)));
                foreach (int rows in new[] { 1, 2, 4, 8, 32, 512 })
                {
                    double seconds = Time(measure, team, matrix, rows);
                    double bytesPerSecond = matrix.Bytes / seconds;
                    double operations = 2.0 * rows * inputs * outputs / seconds;
                    Console.WriteLine(string.Create(
                        CultureInfo.InvariantCulture,
                        $"{type,-9} [{outputs,5}, {inputs,4}] x {rows,3} rows: {bytesPerSecond / 1e9,7:F2} GB/s ({bytesPerSecond / bandwidth,5:P0} of reading) {operations / 1e9,7:F1} GFLOP/s ({operations / flops,4:P0} of peak)"));
                }
            }
        }
    }

    private static double Time(Measure measure, WorkerTeam team, PackedMatrix matrix, int rows)
    {
        using var inputs = NativeBuffer.OfFloats((long)rows * matrix.Inputs);
        using var outputs = NativeBuffer.OfFloats((long)rows * matrix.Outputs);
        new Span<float>(inputs.Floats, rows * matrix.Inputs).Fill(0.5f);
        using var loop = new GemmLoop(team, GemmKernels.For(VectorWidths.Best), relay: null, int8Bytes: (long)rows * Int8Inputs.RowBytes(matrix.Inputs));
        var (x, y) = ((nint)inputs.Floats, (nint)outputs.Floats);
        return measure.SecondsPerCall(() => loop.Multiply(matrix, (float*)x, matrix.Inputs, rows, (float*)y, matrix.Outputs));
    }

    /// <summary>Makes random bits numbers of ordinary size: denormals and infinities would be timed instead of products.</summary>
    private static void ClearExponents(NativeBuffer weights, WeightType type)
    {
        if (type == WeightType.Float32)
        {
            foreach (ref uint bits in new Span<uint>(weights.Pointer, (int)(weights.Bytes / 4)))
            {
                bits = (bits & 0x807FFFFF) | 0x3D000000;
            }
        }
        else
        {
            foreach (ref ushort bits in new Span<ushort>(weights.Pointer, (int)(weights.Bytes / 2)))
            {
                bits = (ushort)((bits & 0x807F) | 0x3D00);
            }
        }
    }
}
