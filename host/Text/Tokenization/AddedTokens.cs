using System.Buffers;
using System.Globalization;

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>A token matched in the text before all else. Flags as in tokenizer.json.</summary>
internal sealed record AddedToken(int Id, string Content, bool Special, bool LeftStrip, bool RightStrip, bool SingleWord, bool Normalized)
{
    public static AddedToken Read(JsonSpot spot, int maxId) => new(
        spot["id"].Count(maxId),
        spot["content"].Text(),
        spot.Flag("special", false),
        spot.Flag("lstrip", false),
        spot.Flag("rstrip", false),
        spot.Flag("single_word", false),
        spot.Flag("normalized", !spot.Flag("special", false)));
}

/// <summary>Half-open range of the text an added token takes; the search goes on at <paramref name="Resume"/>.</summary>
internal readonly record struct AddedTokenMatch(int Start, int End, int Id, int Resume);

/// <summary>Finds added tokens, leftmost first and of those the longest, in one pass over the text.</summary>
internal sealed class AddedTokenMatcher
{
    private readonly Node root = new();
    private readonly SearchValues<char> firstCharacters;

    /// <param name="tokens">Each with the text it is to be found by.</param>
    public AddedTokenMatcher(IEnumerable<(string Pattern, AddedToken Token)> tokens)
    {
        foreach (var (pattern, token) in tokens.Where(item => item.Pattern.Length > 0))
        {
            var node = root;
            foreach (var character in pattern)
            {
                node = node.Next.TryGetValue(character, out var next) ? next : node.Next[character] = new Node();
            }

            node.Token ??= token;
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
            if (Longest(text, start) is not var (token, end))
            {
                search = start + 1;
                continue;
            }

            search = end;
            if (token.SingleWord && ((start > 0 && IsWord(text[start - 1])) || (end < text.Length && IsWord(text[end]))))
            {
                continue;
            }

            while (token.LeftStrip && start > floor && char.IsWhiteSpace(text[start - 1]))
            {
                start--;
            }

            while (token.RightStrip && end < text.Length && char.IsWhiteSpace(text[end]))
            {
                end++;
            }

            match = new AddedTokenMatch(start, end, token.Id, search);
            return true;
        }

        match = default;
        return false;
    }

    private (AddedToken Token, int End)? Longest(ReadOnlySpan<char> text, int start)
    {
        (AddedToken, int)? best = null;
        var node = root;
        for (var i = start; i < text.Length && node.Next.TryGetValue(text[i], out node); i++)
        {
            if (node.Token is { } token)
            {
                best = (token, i + 1);
            }
        }

        return best;
    }

    private static bool IsWord(char character) => char.GetUnicodeCategory(character) is
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter
        or UnicodeCategory.OtherLetter or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
        or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation;

    private sealed class Node
    {
        public Dictionary<char, Node> Next { get; } = [];

        public AddedToken? Token { get; set; }
    }
}
