using System.Buffers;
using System.Text.Json;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>
/// A vocabulary with a log-probability a token: a word becomes the tokens whose sum is largest (Kudo 2018), found in one pass over
/// its characters. Unknown characters in a row are one unknown token.
/// </summary>
internal sealed class UnigramModel : WordModel
{
    /// <summary>How much less likely than the least likely token an unknown character is (SentencePiece, unigram_model.cc).</summary>
    private const double UnknownPenalty = 10;

    private readonly string[] tokens;
    private readonly double[] scores;
    private readonly TokenTrie trie;
    private readonly int unknownId;
    private readonly double unknownScore;
    private readonly bool fallsBackToBytes;

    public UnigramModel(JsonSpot spot)
        : this(spot, [.. spot["vocab"].Items().Select(ReadEntry)])
    {
    }

    private UnigramModel(JsonSpot spot, (string Token, double Score)[] entries)
        : base(IdsOf(spot["vocab"], entries))
    {
        var unknown = spot["unk_id"];
        unknownId = unknown.Count(MaxId);
        if (unknownId >= entries.Length)
        {
            throw unknown.Error($"the id of one of the {entries.Length} tokens", unknown.Found());
        }

        fallsBackToBytes = spot.Flag("byte_fallback", false);
        tokens = [.. entries.Select(entry => entry.Token)];
        scores = [.. entries.Select(entry => entry.Score)];
        unknownScore = scores.Min() - UnknownPenalty;
        trie = new TokenTrie(Ids);
    }

    public override int TokenCount => tokens.Length;

    public override IEnumerable<(string Token, int Id)> Tokens => tokens.Select((token, id) => (token, id));

    public override void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        var ends = ArrayPool<BestPath>.Shared.Rent(word.Length + 1);
        FindBestPath(word, ends.AsSpan(0, word.Length + 1));
        AppendPath(word, ends, ids);
        ArrayPool<BestPath>.Shared.Return(ends);
    }

    /// <param name="ends">One for each position a token can end at, so one more than characters.</param>
    private void FindBestPath(ReadOnlySpan<char> word, Span<BestPath> ends)
    {
        ends.Fill(new BestPath(0, Start: -1, 0));
        for (var start = 0; start < word.Length;)
        {
            var score = ends[start].Score;
            var width = char.IsHighSurrogate(word[start]) && start + 1 < word.Length ? 2 : 1;
            var isKnown = false;
            var node = TokenTrie.Root;
            for (var end = start; end < word.Length && trie.TryNext(node, word[end], out node);)
            {
                end++;
                if (trie.TokenAt(node) is not NoToken and var id)
                {
                    Offer(ends, end, score + scores[id], start, id);
                    isKnown |= end - start == width;
                }
            }

            if (!isKnown)
            {
                Offer(ends, start + width, score + unknownScore, start, unknownId);
            }

            start += width;
        }
    }

    /// <summary>Of equal paths the one that was found first stays.</summary>
    private static void Offer(Span<BestPath> ends, int end, double score, int start, int id)
    {
        if (ends[end].Start < 0 || score > ends[end].Score)
        {
            ends[end] = new BestPath(score, start, id);
        }
    }

    private void AppendPath(ReadOnlySpan<char> word, BestPath[] ends, List<int> ids)
    {
        // Back to front; the pieces' ends stay where they were and Start is turned into the way forward.
        var next = word.Length;
        for (var end = word.Length; end > 0;)
        {
            var start = ends[end].Start;
            ends[end] = ends[end] with { Start = next };
            (next, end) = (end, start);
        }

        for (var (start, end) = (0, next); start < word.Length;)
        {
            // The unknown token written out counts as unknown too, as in the libraries.
            var id = ends[end].Id;
            while (id == unknownId && end < word.Length && ends[ends[end].Start].Id == unknownId)
            {
                end = ends[end].Start;
            }

            if (id != unknownId)
            {
                ids.Add(id);
            }
            else
            {
                AppendUnknown(word[start..end], ids);
            }

            (start, end) = (end, ends[end].Start);
        }
    }

    private void AppendUnknown(ReadOnlySpan<char> text, List<int> ids)
    {
        if (Id(text) is not NoToken and var id)
        {
            ids.Add(id);
        }
        else if (!(fallsBackToBytes && TryAppendBytes(text, ids)))
        {
            ids.Add(unknownId);
        }
    }

    private static (string Token, double Score) ReadEntry(JsonSpot spot) =>
        spot.Value.ValueKind == JsonValueKind.Array && spot.Value.GetArrayLength() == 2 && spot.Value[0].ValueKind == JsonValueKind.String
            && spot.Value[1].ValueKind == JsonValueKind.Number && spot.Value[1].TryGetDouble(out var score)
            ? (spot.Value[0].GetString()!, score)
            : throw spot.Error("[\"token\", log-probability]", spot.Found());

    private static Dictionary<string, int> IdsOf(JsonSpot spot, (string Token, double Score)[] entries)
    {
        if (entries.Length is 0 or > MaxId)
        {
            throw spot.Error($"1..{MaxId} tokens", $"{entries.Length} tokens");
        }

        var ids = new Dictionary<string, int>(entries.Length, StringComparer.Ordinal);
        foreach (var (id, (token, _)) in entries.Index())
        {
            ids[token] = id;
        }

        return ids;
    }

    /// <summary>The best way found to cut the word up to one position.</summary>
    /// <param name="Start">Where its last token begins; -1 where no token ends.</param>
    /// <param name="Id">Its last token.</param>
    private readonly record struct BestPath(double Score, int Start, int Id);
}
