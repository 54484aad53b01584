using System.Buffers;
using System.Text;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>
/// Half-open range of the text an added token takes, empty where the blanks stripped by the token before were all it stands for; the search goes
/// on at <paramref name="Resume"/>.
/// </summary>
internal readonly record struct AddedTokenMatch(int Start, int End, int Id, int Resume);

/// <summary>Finds added tokens, leftmost first and of those the longest, in one pass over the text.</summary>
internal sealed class AddedTokenMatcher
{
    private readonly Node root = new();
    private readonly SearchValues<char> firstCharacters;

    /// <param name="tokens">Each with the text it is to be found by.</param>
    public AddedTokenMatcher(IEnumerable<(string Pattern, AddedToken Token, int Id)> tokens)
    {
        foreach (var (pattern, token, id) in tokens.Where(item => item.Pattern.Length > 0))
        {
            var node = root;
            foreach (var character in pattern)
            {
                node = node.Next.TryGetValue(character, out var next) ? next : node.Next[character] = new Node();
            }

            if (node.Token is null)
            {
                (node.Token, node.Id) = (token, id);
            }
        }

        firstCharacters = SearchValues.Create([.. root.Next.Keys]);
    }

    /// <param name="search">Where to look from.</param>
    /// <param name="floor">How far to the left a token that strips may reach: the end of the match before.</param>
    public bool TryFind(ReadOnlySpan<char> text, int search, int floor, out AddedTokenMatch match)
    {
        while (search < text.Length)
        {
            var skipped = text[search..].IndexOfAny(firstCharacters);
            if (skipped < 0)
            {
                break;
            }

            var start = search + skipped;
            if (Longest(text, start) is not var (token, id, end))
            {
                search = start + 1;
                continue;
            }

            search = end;
            if (token.SingleWord && (EndsInWord(text[..start]) || BeginsWithWord(text[end..])))
            {
                continue;
            }

            if (token.LeftStrip)
            {
                start = Math.Max(text[..start].TrimEnd().Length, floor);
            }

            if (token.RightStrip)
            {
                end = text.Length - text[end..].TrimStart().Length;
            }

            match = new AddedTokenMatch(start, end, id, search);
            return true;
        }

        match = default;
        return false;
    }

    private (AddedToken Token, int Id, int End)? Longest(ReadOnlySpan<char> text, int start)
    {
        (AddedToken, int, int)? best = null;
        var node = root;
        for (var i = start; i < text.Length && node.Next.TryGetValue(text[i], out node); i++)
        {
            if (node.Token is { } token)
            {
                best = (token, node.Id, i + 1);
            }
        }

        return best;
    }

    private static bool EndsInWord(ReadOnlySpan<char> text) => Rune.DecodeLastFromUtf16(text, out var last, out _) == OperationStatus.Done && CharacterProperties.RustWord.Contains(last);

    private static bool BeginsWithWord(ReadOnlySpan<char> text) => Rune.DecodeFromUtf16(text, out var first, out _) == OperationStatus.Done && CharacterProperties.RustWord.Contains(first);

    private sealed class Node
    {
        public Dictionary<char, Node> Next { get; } = [];

        public AddedToken? Token { get; set; }

        public int Id { get; set; }
    }
}
