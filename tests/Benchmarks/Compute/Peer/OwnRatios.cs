using System.Globalization;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>What batching and chunking make of our own speed, in turns.</summary>
internal sealed class OwnRatios(Options options, ModelFiles files, TimeProvider time)
{
    private const int LongPrompt = 2048;
    private const int Chunk = 512;

    public void Run()
    {
        Console.WriteLine();
        Console.WriteLine("| model, weights, threads | decode of 16 to decode of 1, tokens/s | prefill of 2,048 tokens in steps of 512 to one step |");
        Console.WriteLine("|---|---|---|");
        foreach (var shape in options.Models)
        {
            foreach (var kind in options.Weights)
            {
                foreach (int threads in options.Threads)
                {
                    Compare(shape, kind, threads);
                }
            }
        }
    }

    private void Compare(LlamaShape shape, WeightKind kind, int threads)
    {
        int generated = shape.Parameters < 50_000_000 ? 64 : 8;
        Samples single = new(), batch = new(), whole = new(), chunked = new();
        using var ours = new OurModel(time, files.HuggingFace(shape, kind), kind.Ours, threads, LongPrompt, generated);
        ours.Decode(OurModel.MaxBatch, generated);
        ours.Decode(1, generated);
        ours.Prefill(Chunk, Chunk);
        for (int round = 0; round < options.Rounds; round++)
        {
            single.Add([ours.Decode(1, generated)]);
            batch.Add([ours.Decode(OurModel.MaxBatch, generated)]);
            whole.Add([ours.Prefill(LongPrompt, LongPrompt)]);
            chunked.Add([ours.Prefill(LongPrompt, Chunk)]);
        }

        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"| {shape.Name} {kind.Name}, {threads} | {Ratio(batch, single)} | {Ratio(chunked, whole)} |"));
    }

    private static string Ratio(Samples over, Samples under) =>
        $"{Samples.Show(over.Median)} / {Samples.Show(under.Median)} = {Samples.Show(over.Median / under.Median)} ({Samples.Show(over.Best / under.Best)})";
}
