using System.Globalization;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>A model in two ranks beside the same model with the same threads in one, in turns.</summary>
internal sealed class RankRatios(Options options, ModelFiles files, TimeProvider time)
{
    private const int Ranks = 2;
    private const int Prompt = 512;

    public void Run()
    {
        Console.WriteLine("| model, weights, threads | decode of 1, tokens/s, two ranks / one | decode of 16 | prefill of 512 |");
        Console.WriteLine("|---|---|---|---|");
        foreach (var shape in options.Models)
        {
            foreach (var kind in options.Weights)
            {
                foreach (int threads in options.Threads.Where(threads => threads % Ranks == 0))
                {
                    Compare(shape, kind, threads);
                }
            }
        }
    }

    private void Compare(LlamaShape shape, WeightKind kind, int threads)
    {
        int generated = shape.Parameters < 50_000_000 ? 64 : 8;
        OurModel Load(int ranks) => new(time, files.HuggingFace(shape, kind), kind.Ours, threads, Prompt, generated, ranks);
        using var one = Load(1);
        using var two = Load(Ranks);
        Func<OurModel, double>[] works = [model => model.Decode(1, generated), model => model.Decode(OurModel.MaxBatch, generated), model => model.Prefill(Prompt, Prompt)];
        var samples = works.Select(_ => (Two: new Samples(), One: new Samples())).ToArray();
        for (int round = -1; round < options.Rounds; round++)
        {
            for (int i = 0; i < works.Length; i++)
            {
                var (ofTwo, ofOne) = (works[i](two), works[i](one));
                if (round >= 0)
                {
                    samples[i].Two.Add([ofTwo]);
                    samples[i].One.Add([ofOne]);
                }
            }
        }

        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"| {shape.Name} {kind.Name}, {threads} | {string.Join(" | ", samples.Select(pair => Ratio(pair.Two, pair.One)))} |"));
    }

    private static string Ratio(Samples over, Samples under) =>
        $"{Samples.Show(over.Median)} / {Samples.Show(under.Median)} = {Samples.Show(over.Median / under.Median)} ({Samples.Show(over.Best / under.Best)})";
}
