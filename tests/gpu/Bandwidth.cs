using System.Globalization;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.GpuChecks;

/// <summary>How near the memory's rate the kernels of decoding come: weights of a large layer, read once for a few rows, beside a plain copy.</summary>
internal static class Bandwidth
{
    private const int Inputs = 4096, Outputs = 57344, Rounds = 20, CallsOfRound = 10;

    /// <param name="gpu">Has kernels in bf16.</param>
    /// <param name="copyRate">Bytes a second that a copy within the device moves, reads and writes counted.</param>
    public static IReadOnlyList<string> Measure(IGpu gpu, TimeProvider time, out double copyRate)
    {
        var lines = new List<string>();
        long bytes = 2L * Inputs * Outputs;
        using var weights = gpu.Allocate(bytes);
        using var other = gpu.Allocate(bytes);
        using var inputs = gpu.Allocate(2L * 16 * Inputs);
        using var outputs = gpu.Allocate(4L * 16 * Outputs);
        // A copy reads and writes.
        double copy = copyRate = 2 * bytes / Best(gpu, time, () => gpu.Copy(weights, 0, other, 0, bytes));
        lines.Add(string.Create(CultureInfo.InvariantCulture, $"copy: {copy / 1e9:F0} GB/s"));
        var kernels = new StepKernels(gpu, new ModelKernels(ComputeType.BFloat16, KvTransport.KvDataType.BFloat16, 128, 4, GatedByGelu: false));
        foreach (int rows in (int[])[1, 8, 16])
        {
            var kernel = (rows <= 8 ? kernels.Products.OfEight : kernels.Products.OfSixteen).Floats;
            double rate = bytes / Best(gpu, time, () => gpu.Call(
                kernel, new Extent(Outputs / 16),
                KernelArgument.Pointer(outputs), KernelArgument.Pointer(inputs), KernelArgument.Of(new MatrixPointers(weights.Value, 0)), KernelArgument.Pointer(null), rows, Inputs, Outputs));
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"product of {rows} rows: {rate / 1e9:F0} GB/s of weights, {100 * rate / copy:F0}% of the copy"));
        }

        return lines;
    }

    /// <summary>Seconds of one call in the best round.</summary>
    private static double Best(IGpu gpu, TimeProvider time, Action work)
    {
        work();
        gpu.Wait();
        double best = double.MaxValue;
        for (int round = 0; round < Rounds; round++)
        {
            long start = time.GetTimestamp();
            for (int call = 0; call < CallsOfRound; call++)
            {
                work();
            }

            gpu.Wait();
            best = Math.Min(best, time.GetElapsedTime(start).TotalSeconds / CallsOfRound);
        }

        return best;
    }
}
