using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>The vocabulary and merges of a BPE model, and how a word becomes symbols before merging. Immutable once read.</summary>
internal sealed class BpeModel
{
    /// <summary>Ids beyond this are taken for damage; the largest vocabularies have a few hundred thousand.</summary>
    public const int MaxId = (1 << 22) - 1;

    private const int NoToken = -1;

    private readonly Dictionary<string, int> vocabulary;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> lookup;
    private readonly int[] characterIds = new int[0x10000];
    private readonly int[] byteIds = new int[256];
    private readonly PairTable pairs;
    private readonly int unknownId;
    private readonly bool fusesUnknown;
    private readonly bool fallsBackToBytes;
    private readonly bool ignoresMerges;
    private readonly string subwordPrefix;
    private readonly string wordSuffix;

    private BpeModel(JsonSpot spot)
    {
        if (spot.Optional("dropout") is { } dropout && dropout.Value.GetRawText() is not ("0" or "0.0"))
        {
            throw dropout.Unsupported($"dropout {dropout.Found()}", "null or 0 (encoding is deterministic)");
        }

        vocabulary = ReadVocabulary(spot["vocab"]);
        lookup = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        fusesUnknown = spot.Flag("fuse_unk", false);
        fallsBackToBytes = spot.Flag("byte_fallback", false);
        ignoresMerges = spot.Flag("ignore_merges", false);
        subwordPrefix = spot.Optional("continuing_subword_prefix")?.Text() ?? "";
        wordSuffix = spot.Optional("end_of_word_suffix")?.Text() ?? "";
        unknownId = spot.Optional("unk_token") is not { } unknown ? NoToken
            : vocabulary.TryGetValue(unknown.Text(), out var id) ? id : throw unknown.Error("a token of the vocabulary", unknown.Found());
        for (var character = 0; character < characterIds.Length; character++)
        {
            characterIds[character] = lookup.TryGetValue([(char)character], out id) ? id : NoToken;
        }

        for (var value = 0; value < byteIds.Length; value++)
        {
            byteIds[value] = vocabulary.GetValueOrDefault(string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>"), NoToken);
        }

        pairs = ReadMerges(spot["merges"]);
    }

    public IReadOnlyDictionary<string, int> Vocabulary => vocabulary;

    public static BpeModel Read(JsonSpot spot)
    {
        var type = spot.Optional("type")?.Text() ?? "BPE"; // the oldest files say nothing
        return type == "BPE" ? new BpeModel(spot) : throw spot.Unsupported($"model {type}", "BPE");
    }

    /// <summary>
    /// Whether no token spans the place where <paramref name="character"/> follows another character, so that text may be cut there
    /// without changing its tokens.
    /// </summary>
    public bool MayCutBefore(char character) =>
        !ignoresMerges && subwordPrefix.Length == 0 && wordSuffix.Length == 0 && characterIds[character] != NoToken
        && vocabulary.Keys.All(token => !SpansBoundary(token, character));

    /// <param name="word">Not empty. For a byte-level model in the characters of <see cref="ByteAlphabet"/>.</param>
    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        if (ignoresMerges && lookup.TryGetValue(word, out var whole))
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
            var character = word.Slice(i, width);
            var id = SymbolId(character, isFirst: i == 0, isLast: i + width == word.Length);
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
            else if (!(fallsBackToBytes && TryAppendBytes(character, ids)) && unknownId != NoToken)
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

    private int SymbolId(ReadOnlySpan<char> character, bool isFirst, bool isLast)
    {
        var prefix = isFirst ? "" : subwordPrefix;
        var suffix = isLast ? wordSuffix : "";
        if (prefix.Length + suffix.Length == 0 && character.Length == 1)
        {
            return characterIds[character[0]];
        }

        return lookup.TryGetValue(string.Concat(prefix, character, suffix), out var id) ? id : NoToken;
    }

    private bool TryAppendBytes(ReadOnlySpan<char> character, List<int> ids)
    {
        Span<byte> utf8 = stackalloc byte[4];
        utf8 = utf8[..Encoding.UTF8.GetBytes(character, utf8)];
        foreach (var value in utf8)
        {
            if (byteIds[value] == NoToken)
            {
                return false;
            }
        }

        foreach (var value in utf8)
        {
            ids.Add(byteIds[value]);
        }

        return true;
    }

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
        var rank = 0;
        foreach (var item in spot.Value.EnumerateArray())
        {
            var merge = item.ValueKind switch
            {
                JsonValueKind.String when item.GetString()!.Split(' ') is { Length: 2 } halves => halves,
                JsonValueKind.Array when item.GetArrayLength() == 2 => [item[0].GetString() ?? "", item[1].GetString() ?? ""],
                _ => throw Merge().Error("\"left right\" or [\"left\", \"right\"]", Merge().Found()),
            };
            if (!vocabulary.TryGetValue(merge[0], out var left) || !vocabulary.TryGetValue(merge[1], out var right))
            {
                throw Merge().Error("two tokens of the vocabulary", Merge().Found());
            }

            var tail = subwordPrefix.Length > 0 && merge[1].StartsWith(subwordPrefix, StringComparison.Ordinal) ? merge[1].AsSpan(subwordPrefix.Length) : merge[1];
            if (!lookup.TryGetValue(string.Concat(merge[0], tail), out var merged))
            {
                throw Merge().Error("two tokens whose union is in the vocabulary", Merge().Found());
            }

            table.Add(left, right, rank++, merged);
        }

        return table;

        JsonSpot Merge() => spot.Items().ElementAt(rank);
    }
}
