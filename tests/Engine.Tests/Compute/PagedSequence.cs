using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Tests.Fakes;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>A sequence as a scheduler would hold it: its tokens, how many have KV, its block table, and the logits seen so far.</summary>
internal sealed class PagedSequence(int[] tokens, int[] pages)
{
    public List<int> Tokens { get; } = [.. tokens];

    public int[] Pages { get; } = pages;

    public int Computed { get; private set; }

    public int Left => Tokens.Count - Computed;

    /// <summary>Logits by the position of the token they follow.</summary>
    public Dictionary<int, float[]> Logits { get; } = [];

    /// <summary>The next slice of a sequence of a model whose <see cref="ModelDescription.ShortContext"/> is given.</summary>
    public StepSlice Next(int count, bool wantsLogits, int shortContext = int.MaxValue) =>
        new(Tokens.GetRange(Computed, count).ToArray(), Computed, Pages, wantsLogits) { LongContext = Tokens.Count > shortContext };

    /// <summary>Adds a generated token. A sequence that has become a long one by it is computed anew.</summary>
    public void Append(int token, int shortContext)
    {
        Tokens.Add(token);
        if (Tokens.Count - 1 == shortContext)
        {
            Computed = 0;
        }
    }

    /// <summary>Runs one step over the sequences, each with its count of tokens and whether it wants logits.</summary>
    public static void Step(
        IModelRunner runner, KvPool pool, IReadOnlyList<(PagedSequence Sequence, int Count, bool WantsLogits)> parts, ILayerObserver? observer = null)
    {
        int vocab = runner.Model.VocabSize;
        var logits = new float[vocab * parts.Count(part => part.WantsLogits)];
        runner.Forward(parts.Select(part => part.Sequence.Next(part.Count, part.WantsLogits, runner.Model.ShortContext)).ToArray(), pool, logits, observer);
        int row = 0;
        foreach (var (sequence, count, wantsLogits) in parts)
        {
            sequence.Computed += count;
            if (wantsLogits)
            {
                sequence.Logits[sequence.Computed - 1] = logits.AsSpan(row++ * vocab, vocab).ToArray();
            }
        }
    }

    /// <summary>Sequences over one pool whose pages are dealt out in random order.</summary>
    public static (TestKvPool Pool, PagedSequence[] Sequences) Deal(KvLayout layout, IReadOnlyList<int[]> prompts, int extraTokens, Random random, int shards = 1)
    {
        int[] counts = [.. prompts.Select(prompt => (prompt.Length + extraTokens + layout.PageTokens - 1) / layout.PageTokens)];
        int[] pages = [.. Enumerable.Range(0, counts.Sum() + 3)];
        random.Shuffle(pages);
        int next = 0;
        var sequences = prompts.Select((prompt, i) =>
        {
            var own = pages[next..(next + counts[i])];
            next += counts[i];
            return new PagedSequence(prompt, own);
        }).ToArray();
        return (new TestKvPool(layout, pages.Length, shards), sequences);
    }

    /// <summary>Computes every token of every sequence in random chunks of random sequences, with logits of some.</summary>
    public static void RunAtRandom(IModelRunner runner, KvPool pool, IReadOnlyList<PagedSequence> sequences, int maxTokens, Random random)
    {
        while (sequences.Any(sequence => sequence.Left > 0))
        {
            var parts = new List<(PagedSequence, int, bool)>();
            int budget = random.Next(1, maxTokens + 1);
            foreach (var sequence in sequences.Where(sequence => sequence.Left > 0).OrderBy(_ => random.Next()))
            {
                int most = Math.Min(budget, sequence.Left);
                if (most == 0 || random.Next(4) == 0)
                {
                    continue;
                }

                int count = random.Next(3) switch { 0 => 1, 1 => most, _ => random.Next(1, most + 1) };
                budget -= count;
                parts.Add((sequence, count, random.Next(3) != 0 || count == sequence.Left));
            }

            if (parts.Count > 0)
            {
                Step(runner, pool, parts);
            }
        }
    }

    /// <summary>The KV of a position in a layer, as it is stored: keys of all heads, then values.</summary>
    public byte[] Kv(KvPool pool, int layer, int position)
    {
        var layout = pool.Layout;
        var result = new List<byte>();
        for (int head = 0; head < 2 * layout.KvHeads; head++)
        {
            result.AddRange(pool.Head(layer, Pages[position / layout.PageTokens], position, head));
        }

        return [.. result];
    }
}
