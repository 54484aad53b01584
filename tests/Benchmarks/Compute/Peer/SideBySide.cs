using System.Globalization;
using ScriptedServe.Engine.Compute.Cpu;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>
/// Ours and llama.cpp on the same weights, in turns: whatever else the machine does falls on both. Each row shows the median and the best of all rounds,
/// their ratios, and the share that ours has of what the machine could do at most.
/// </summary>
internal sealed class SideBySide(Options options, LlamaBench? peer, ModelFiles files, TimeProvider time)
{
    private const int Prompt = 512;

    /// <summary>Weights of fewer may stay in the caches, and reading is no limit.</summary>
    private const long LeastWeightBytes = 256L << 20;

    public async Task RunAsync()
    {
        foreach (int threads in options.Threads)
        {
            var limits = MeasureLimits(threads);
            Console.WriteLine();
            Console.WriteLine($"{threads} {(threads == 1 ? "thread" : "threads")}");
            Console.WriteLine();
            Console.WriteLine("| model, weights, work | ours tokens/s: median (best) | llama.cpp | ratio of medians (of bests) | of the machine's limit |");
            Console.WriteLine("|---|---|---|---|---|");
            foreach (var shape in options.Models)
            {
                foreach (var kind in options.Weights)
                {
                    limits = await CompareAsync(shape, kind, threads, limits);
                }
            }

            Console.WriteLine();
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"limits: memory read {limits.Bandwidth / 1e9:F1} GB/s, multiply-add {limits.Flops / 1e9:F0} GFLOP/s"));
        }
    }

    /// <summary>Prints the rows of a model and gives the limits back, the best of those so far and those measured between the rounds.</summary>
    private async Task<Limits> CompareAsync(LlamaShape shape, WeightKind kind, int threads, Limits limits)
    {
        int generated = shape.Parameters < 50_000_000 ? 256 : 24;
        Samples ourPrefill = new(), ourDecode = new(), theirPrefill = new(), theirDecode = new(), reading = new();
        using var ours = new OurModel(time, files.HuggingFace(shape, kind), kind.Ours, threads, Prompt, generated);
        WarmUp(ours, generated);
        for (int round = 0; round < options.Rounds; round++)
        {
            if (peer is not null)
            {
                var speeds = await peer.RunAsync(files.Gguf(shape, kind), threads, Prompt, generated, options.Repetitions);
                theirPrefill.Add(speeds.Prefill);
                theirDecode.Add(speeds.Decode);
            }

            ourPrefill.Add(Repeat(() => ours.Prefill(Prompt, Prompt)));
            ourDecode.Add(Repeat(() => ours.Decode(1, generated)));
            if (ours.BytesPerToken >= LeastWeightBytes)
            {
                reading.Add(Repeat(() => Read(ours.BytesPerToken, threads, generated)));
            }

            limits = limits.Best(MeasureLimits(threads));
        }

        string beside = reading.Any ? $"{Percent(ours.BytesPerToken * ourDecode.Median / reading.Median)} of reading as much beside it, " : "";
        double window = ours.BytesPerToken * ourDecode.Best / limits.Bandwidth;
        double computing = shape.OperationsPerPromptToken * ourPrefill.Best / limits.Flops;
        Print($"{shape.Name} {kind.Name}, decode", ourDecode, theirDecode, $"{beside}{Percent(window)} of the best window");
        Print($"{shape.Name} {kind.Name}, prefill {Prompt}", ourPrefill, theirPrefill, $"{Percent(computing)} of multiply-add");
        return limits;
    }

    /// <summary>What llama-bench does before it measures; here it also lets the runtime compile what it will run.</summary>
    private static void WarmUp(OurModel ours, int generated)
    {
        ours.Prefill(Prompt, Prompt);
        ours.Decode(1, generated);
    }

    private List<double> Repeat(Func<double> work) => [.. Enumerable.Range(0, options.Repetitions).Select(_ => work())];

    /// <summary>As many bytes as tokens take, in one go.</summary>
    private double Read(double bytes, int threads, int tokens)
    {
        using var team = new WorkerTeam(threads);
        using var buffer = new NativeBuffer((long)bytes);
        return MachineLimits.SustainedRead(time, team, buffer, tokens);
    }

    private Limits MeasureLimits(int threads)
    {
        var measure = new Measure(time);
        using var team = new WorkerTeam(threads);
        return new Limits(MachineLimits.ReadBandwidth(measure, team, 256L << 20), MachineLimits.PeakFlops(measure, team));
    }

    private static string Percent(double share) => $"{Samples.Show(share * 100)}%";

    private static void Print(string work, Samples ours, Samples theirs, string limit)
    {
        string ratio = theirs.Any ? $"{Samples.Show(ours.Median / theirs.Median)} ({Samples.Show(ours.Best / theirs.Best)})" : "";
        Console.WriteLine($"| {work} | {ours} | {theirs} | {ratio} | {limit} |");
    }

    /// <param name="Bandwidth">Bytes a second.</param>
    /// <param name="Flops">Operations a second.</param>
    private sealed record Limits(double Bandwidth, double Flops)
    {
        public Limits Best(Limits other) => new(Math.Max(Bandwidth, other.Bandwidth), Math.Max(Flops, other.Flops));
    }
}
