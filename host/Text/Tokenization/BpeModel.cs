using System.Runtime.InteropServices;
using System.Text.Json;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>The vocabulary and merges of a BPE model, and how a word becomes symbols before merging.</summary>
internal sealed class BpeModel : WordModel
{
    private readonly int[] characterIds = new int[0x10000];
    private readonly PairTable pairs;
    private readonly int unknownId;
    private readonly bool fusesUnknown;
    private readonly bool fallsBackToBytes;
    private readonly bool ignoresMerges;
    private readonly string subwordPrefix;
    private readonly string wordSuffix;

    public BpeModel(JsonSpot spot)
        : base(ReadVocabulary(spot["vocab"]))
    {
        if (spot.Optional("dropout") is { } dropout && dropout.Value.GetRawText() is not ("0" or "0.0"))
        {
            throw dropout.Unsupported($"dropout {dropout.Found()}", "null or 0 (encoding is deterministic)");
        }

        fusesUnknown = spot.Flag("fuse_unk", false);
        fallsBackToBytes = spot.Flag("byte_fallback", false);
        ignoresMerges = spot.Flag("ignore_merges", false);
        subwordPrefix = spot.Optional("continuing_subword_prefix")?.Text() ?? "";
        wordSuffix = spot.Optional("end_of_word_suffix")?.Text() ?? "";
        unknownId = spot.Optional("unk_token") is { } unknown ? UnknownId(unknown) : NoToken;
        for (var character = 0; character < characterIds.Length; character++)
        {
            characterIds[character] = Id([(char)character]);
        }

        pairs = ReadMerges(spot["merges"]);
    }

    public override bool MayCutBefore(char character) =>
        !ignoresMerges && subwordPrefix.Length == 0 && wordSuffix.Length == 0 && characterIds[character] != NoToken
        && Ids.Keys.All(token => !SpansBoundary(token, character));

    public override void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        if (ignoresMerges && Id(word) is not NoToken and var whole)
        {
            ids.Add(whole);
            return;
        }

        // Symbols go straight to the end of the output and are merged there.
        var start = ids.Count;
        AppendSymbols(word, ids);
        var count = BpeMerger.Merge(CollectionsMarshal.AsSpan(ids)[start..], pairs);
        ids.RemoveRange(start + count, ids.Count - start - count);
    }

    private static bool SpansBoundary(string token, char character)
    {
        for (var at = token.IndexOf(character); at >= 0; at = token.IndexOf(character, at + 1))
        {
            if (at > 0 && token[at - 1] != character)
            {
                return true;
            }
        }

        return false;
    }

    private void AppendSymbols(ReadOnlySpan<char> word, List<int> ids)
    {
        // An unknown symbol waits here, so that those that follow can be fused with it.
        var unknownWaits = false;
        for (var i = 0; i < word.Length; i++)
        {
            var width = char.IsHighSurrogate(word[i]) && i + 1 < word.Length ? 2 : 1;
            var symbol = word.Slice(i, width);
            var (prefix, suffix) = (i == 0 ? "" : subwordPrefix, i + width == word.Length ? wordSuffix : "");
            if (prefix.Length + suffix.Length > 0)
            {
                symbol = string.Concat(prefix, symbol, suffix);
            }

            var id = symbol.Length == 1 ? characterIds[symbol[0]] : Id(symbol);
            i += width - 1;
            if (id != NoToken)
            {
                if (unknownWaits)
                {
                    ids.Add(unknownId);
                    unknownWaits = false;
                }

                ids.Add(id);
            }
            else if (!(fallsBackToBytes && TryAppendBytes(symbol, ids)) && unknownId != NoToken)
            {
                if (unknownWaits && !fusesUnknown)
                {
                    ids.Add(unknownId);
                }

                unknownWaits = true;
            }
        }

        if (unknownWaits)
        {
            ids.Add(unknownId);
        }
    }

    /// <summary>A vocabulary with all bytes never needs the token, which some files then name without having it.</summary>
    private int UnknownId(JsonSpot spot) =>
        Ids.TryGetValue(spot.Text(), out var id) ? id
        : Enumerable.Range(0, 256).All(value => Id([ByteAlphabet.CharacterOf((byte)value)]) != NoToken) ? NoToken
        : throw spot.Error("a token of the vocabulary", spot.Found());

    private static Dictionary<string, int> ReadVocabulary(JsonSpot spot)
    {
        if (spot.Value.ValueKind != JsonValueKind.Object)
        {
            throw spot.Error("an object of tokens and ids", spot.Found());
        }

        var vocabulary = new Dictionary<string, int>(spot.Value.GetPropertyCount(), StringComparer.Ordinal);
        foreach (var member in spot.Value.EnumerateObject())
        {
            if (member.Value.ValueKind != JsonValueKind.Number || !member.Value.TryGetInt32(out var id) || id is < 0 or > MaxId)
            {
                throw spot[member.Name].Error($"a token id of 0..{MaxId}", member.Value.GetRawText());
            }

            vocabulary[member.Name] = id;
        }

        return vocabulary;
    }

    private PairTable ReadMerges(JsonSpot spot)
    {
        if (spot.Value.ValueKind != JsonValueKind.Array)
        {
            throw spot.Error("an array of merges", spot.Found());
        }

        var table = new PairTable(spot.Value.GetArrayLength());
        foreach (var (index, item) in spot.Value.EnumerateArray().Index())
        {
            if (item.ValueKind == JsonValueKind.String && item.GetString()!.StartsWith("#version", StringComparison.Ordinal))
            {
                continue; // the first line of a merges.txt, copied along
            }

            string[] merge = item.ValueKind switch
            {
                JsonValueKind.String => item.GetString()!.Split(' '),
                JsonValueKind.Array => [.. item.EnumerateArray().Where(half => half.ValueKind == JsonValueKind.String).Select(half => half.GetString()!)],
                _ => [],
            };
            if (merge.Length != 2)
            {
                throw Merge().Error("\"left right\" or [\"left\", \"right\"]", Merge().Found());
            }

            if (!Ids.TryGetValue(merge[0], out var left) || !Ids.TryGetValue(merge[1], out var right))
            {
                throw Merge().Error("two tokens of the vocabulary", Merge().Found());
            }

            var tail = subwordPrefix.Length > 0 && merge[1].StartsWith(subwordPrefix, StringComparison.Ordinal) ? merge[1].AsSpan(subwordPrefix.Length) : merge[1];
            if (Id(string.Concat(merge[0], tail)) is var merged && merged == NoToken)
            {
                throw Merge().Error("two tokens whose union is in the vocabulary", Merge().Found());
            }

            table.Add(left, right, rank: index, merged);

            JsonSpot Merge() => spot.Items().ElementAt(index);
        }

        return table;
    }
}
