using System.Globalization;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.GpuChecks;

/// <summary>Whole steps of the big model, as an engine computes them: tokens are chosen on the device. Best of several rounds.</summary>
internal sealed class StepBenchmark(CudaModelRunner runner, TimeProvider time)
{
    private const int PageTokens = 16, DecodeSteps = 32, Rounds = 4, LongestPrompt = 8192, Sequences = 64, DecodeContext = 1024;

    private static readonly SamplingParameters Greedy = new() { Temperature = 0 };

    private readonly KvPool _pool = runner.CreatePool(Sequences * (DecodeContext + DecodeSteps + PageTokens) / PageTokens, epoch: 1);

    /// <param name="copyRate">Bytes a second that the device's memory moves, reads and writes counted.</param>
    /// <param name="matrixRate">Operations a second.</param>
    /// <param name="options">Weights, and what multiplies many rows; sizes are the benchmark's.</param>
    public static IEnumerable<string> Run(string folder, CudaRunnerOptions options, Func<ModelKernels, IGpu> open, double copyRate, double matrixRate, TimeProvider time)
    {
        const double BitsOfCodes = 8.5, BitsOfNumbers = 16;
        options = options with { PageTokens = PageTokens, MaxBatchTokens = LongestPrompt, MaxSequences = Sequences };
        using var runner = CudaModelLoader.Load(folder, options, open);
        var benchmark = new StepBenchmark(runner, time);
        using (benchmark._pool)
        {
            // All weights but the embedding table, of which a row a token is read.
            double bits = options.Weights == WeightFormat.Auto ? BitsOfNumbers : BitsOfCodes;
            string kind = $"{options.Weights}, many rows by {options.ManyRows}";
            double weights = bits / 8 * (BigModel.Shape.Parameters - (double)BigModel.Shape.Vocab * BigModel.Shape.Hidden);
            foreach (int batch in (int[])[1, 8, Sequences])
            {
                double seconds = benchmark.Decode(batch);
                double bytes = weights + batch * (DecodeContext + DecodeSteps / 2.0) * runner.Layout.PageBytesAllLayers / PageTokens;
                yield return Line($"{kind}: decode, {batch} sequences at {DecodeContext} tokens: {1e3 * seconds:F2} ms a step, {batch / seconds:F0} tokens/s, {100 * bytes / seconds / copyRate:F0}% of the memory roofline");
            }

            foreach (int prompt in (int[])[2048, 4096, LongestPrompt])
            {
                double seconds = benchmark.Prefill(prompt);
                var shape = BigModel.Shape;
                // Each token sees half of the prompt on average; scores and values are two products.
                double operations = prompt * (shape.OperationsPerPromptToken + 2.0 * 2 * shape.Layers * shape.Hidden * prompt / 2);
                yield return Line($"{kind}: prefill of {prompt} tokens: {1e3 * seconds:F1} ms, {prompt / seconds:F0} tokens/s, {operations / seconds / 1e12:F0} TFLOP/s, {100 * operations / seconds / matrixRate:F0}% of the matrix rate");
            }
        }
    }

    private double Decode(int batch)
    {
        int pages = (DecodeContext + DecodeSteps + PageTokens) / PageTokens;
        int[] tables = [.. Enumerable.Range(0, batch * pages)];
        double best = double.MaxValue;
        for (int round = 0; round < Rounds; round++)
        {
            // The first step of a size records it.
            long started = 0;
            for (int step = 0; step < DecodeSteps; step++)
            {
                started = step == 1 ? time.GetTimestamp() : started;
                Run([.. Enumerable.Range(0, batch).Select(i => new StepSlice(new[] { i + step }, DecodeContext + step, tables.AsMemory(i * pages, pages), WantsLogits: true))]);
            }

            best = Math.Min(best, time.GetElapsedTime(started).TotalSeconds / (DecodeSteps - 1));
        }

        return best;
    }

    private double Prefill(int tokens)
    {
        int[] pages = [.. Enumerable.Range(0, tokens / PageTokens)], prompt = [.. Enumerable.Range(0, tokens).Select(i => i * 7919 % BigModel.Shape.Vocab)];
        double best = double.MaxValue;
        for (int round = 0; round < Rounds; round++)
        {
            long started = time.GetTimestamp();
            Run([new StepSlice(prompt, 0, pages, WantsLogits: true)]);
            best = Math.Min(best, time.GetElapsedTime(started).TotalSeconds);
        }

        return best;
    }

    private void Run(StepSlice[] slices)
    {
        runner.Launch(slices, _pool, [.. slices.Select(slice => new TokenChoice(slice, Greedy, null, 0, slice.Position + slice.Count))], observer: null);
        runner.Collect();
    }

    private static string Line(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
