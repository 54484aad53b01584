using System.Globalization;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Cpu;
using ScriptedServe.KvTransport;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>
/// What a step takes, by batch and context: decode steps of some sequences, and a chunk of a prompt, behind so many tokens in the cache. Rounds take turns on all
/// rows, and each row shows its best step of all rounds: the one that ran undisturbed.
/// </summary>
internal sealed class StepTimes(Options options, ModelFiles files, TimeProvider time)
{
    private const int Chunk = 512;

    /// <summary>Sequences of a batch share the cached context above this many tokens in all, lest the cache outgrow the machine's memory.</summary>
    private const int MaxTokens = 40_000;

    private static readonly TimeSpan RoundTime = TimeSpan.FromMilliseconds(300);

    public void Run()
    {
        foreach (int threads in options.Threads)
        {
            var measure = new Measure(time);
            using var team = new WorkerTeam(threads);
            var (bandwidth, flops) = (MachineLimits.ReadBandwidth(measure, team, 256L << 20), MachineLimits.PeakFlops(measure, team));
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"{threads} threads, KV {options.Kv.Name()}; memory read {bandwidth / 1e9:F1} GB/s, multiply-add {flops / 1e9:F0} GFLOP/s"));
            Console.WriteLine();
            Console.WriteLine("| model, weights | step | best ms | median ms | tokens/s, best | reading takes ms | multiply-adds take ms |");
            Console.WriteLine("|---|---|---|---|---|---|---|");
            foreach (var shape in options.Models)
            {
                foreach (var kind in options.Weights)
                {
                    RunModel(shape, kind, threads, bandwidth, flops);
                }
            }

            Console.WriteLine();
        }
    }

    private void RunModel(LlamaShape shape, WeightKind kind, int threads, double bandwidth, double flops)
    {
        int contextTokens = options.Contexts.Max();
        using var runner = CpuModelRunner.Load(
            files.HuggingFace(shape, kind),
            new CpuRunnerOptions { Threads = threads, Weights = kind.Ours, MaxBatchTokens = Math.Max(Chunk, options.Batches.Max()), KvDataType = options.Kv });
        int pageTokens = runner.Layout.PageTokens;
        int pagesEach = (contextTokens + Chunk) / pageTokens + 1;
        int tables = Math.Clamp(MaxTokens / (contextTokens + Chunk), 1, options.Batches.Max());
        using var pool = new PlainPool(runner.Layout, pagesEach * tables);
        pool.Fill(new Random(1));
        var logits = new float[options.Batches.Max() * runner.Model.VocabSize];
        var tokens = Enumerable.Range(0, Chunk).Select(i => i * 7 % runner.Model.VocabSize).ToArray();
        var pages = Enumerable.Range(0, tables).Select(i => Enumerable.Range(i * pagesEach, pagesEach).ToArray()).ToArray();

        var rows = new List<Row>();
        double kvBytes = (double)runner.Layout.PageBytesAllLayers / pageTokens;
        double pairOperations = 4.0 * shape.Heads * shape.HeadDim * shape.Layers;
        foreach (int context in options.Contexts)
        {
            foreach (int batch in options.Batches)
            {
                var slices = Enumerable.Range(0, batch).Select(i => new StepSlice(tokens.AsMemory(i, 1), context, pages[i % tables], true)).ToArray();
                rows.Add(new Row(
                    $"decode of {batch} at {context}",
                    batch,
                    runner.WeightBytesPerToken + batch * kvBytes * context,
                    batch * (shape.OperationsPerPromptToken + 2.0 * shape.Vocab * shape.Hidden + pairOperations * context),
                    () => runner.Forward(slices, pool, logits.AsSpan(0, batch * runner.Model.VocabSize), null)));
            }

            var prompt = new[] { new StepSlice(tokens, context, pages[0], false) };
            rows.Add(new Row(
                $"prefill of {Chunk} at {context}",
                Chunk,
                runner.WeightBytesPerToken + kvBytes * context,
                Chunk * (shape.OperationsPerPromptToken + pairOperations * (context + Chunk / 2)),
                () => runner.Forward(prompt, pool, [], null)));
        }

        for (int round = -1; round < options.Rounds; round++)
        {
            foreach (var row in rows)
            {
                Time(row, warmUp: round < 0);
            }
        }

        foreach (var row in rows)
        {
            double[] sorted = [.. row.Seconds.Order()];
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"| {shape.Name} {kind.Name} | {row.Name} | {sorted[0] * 1e3:F2} | {sorted[sorted.Length / 2] * 1e3:F2} | {row.Tokens / sorted[0]:F0} | {row.Bytes / bandwidth * 1e3:F2} | {row.Operations / flops * 1e3:F2} |"));
        }
    }

    private void Time(Row row, bool warmUp)
    {
        long begin = time.GetTimestamp();
        do
        {
            long start = time.GetTimestamp();
            row.Step();
            if (!warmUp)
            {
                row.Seconds.Add(time.GetElapsedTime(start).TotalSeconds);
            }
        }
        while (time.GetElapsedTime(begin) < RoundTime);
    }

    /// <param name="Bytes">Of weights and KV that a step reads at least.</param>
    /// <param name="Operations">Floating-point operations of its products and of attention.</param>
    private sealed record Row(string Name, int Tokens, double Bytes, double Operations, Action Step)
    {
        public List<double> Seconds { get; } = [];
    }
}
