using System.Globalization;
using ScriptedServe.Engine.Compute;

namespace ScriptedServe.ComputeBenchmarks;

/// <summary>Tokens a second of a model folder: prefill of one prompt, and decode steps of one and of many sequences.</summary>
internal static class ModelBenchmark
{
    public static void Run(Measure measure, string folder, int threads, double bandwidth)
    {
        using var runner = CpuModelRunner.Load(folder, new CpuRunnerOptions { Threads = threads });
        int prompt = Math.Min(512, runner.Model.ContextLength / 2);
        const int Batch = 16;
        using var pool = new PlainPool(runner.Layout, Batch * (prompt / runner.Layout.PageTokens + 2));
        var tokens = Enumerable.Range(0, prompt).Select(i => i * 7 % runner.Model.VocabSize).ToArray();
        var logits = new float[Batch * runner.Model.VocabSize];
        int pagesEach = pool.Pages / Batch;
        var tables = Enumerable.Range(0, Batch).Select(i => Enumerable.Range(i * pagesEach, pagesEach).ToArray()).ToArray();

        var prefill = new[] { new StepSlice(tokens, 0, tables[0], true) };
        double seconds = measure.SecondsPerCall(() => runner.Forward(prefill, pool, logits.AsSpan(0, runner.Model.VocabSize), null));
        Print($"prefill of {prompt} tokens", prompt / seconds, "");
        foreach (int sequence in Enumerable.Range(1, Batch - 1))
        {
            runner.Forward([new StepSlice(tokens, 0, tables[sequence], false)], pool, [], null);
        }

        foreach (int batch in new[] { 1, 4, Batch })
        {
            foreach (int position in new[] { 1, prompt })
            {
                var slices = Enumerable.Range(0, batch).Select(i => new StepSlice(new[] { tokens[i] }, position, tables[i], true)).ToArray();
                seconds = measure.SecondsPerCall(() => runner.Forward(slices, pool, logits.AsSpan(0, batch * runner.Model.VocabSize), null));
                double bytesPerSecond = runner.WeightBytesPerToken / seconds;
                Print(
                    $"decode of {batch} sequences at position {position}",
                    batch / seconds,
                    string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e6:F0} us a step, weights at {bytesPerSecond / 1e9:F2} GB/s ({bytesPerSecond / bandwidth:P0} of reading)"));
            }
        }
    }

    private static void Print(string what, double tokensPerSecond, string more) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what,-42} {tokensPerSecond,9:F0} tokens/s  {more}"));
}
