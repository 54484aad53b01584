using ScriptedServe.Host.Text.Tokenization;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>Regexes of tokenizer files over all of Unicode. Expected matches follow Oniguruma's documentation of Ruby syntax.</summary>
public class OnigurumaPatternTests
{
    [Theory]
    [InlineData(@"\p{L}+", "ab𝐀𝐁 𠀀c!", "ab𝐀𝐁|𠀀c")]
    [InlineData(@"\p{N}{1,3}", "12345 𝟏𝟐𝟑𝟒", "123|45|𝟏𝟐𝟑|𝟒")]
    [InlineData(@"[^\s\p{L}\p{N}]+", "a😀!\uE123 𝐀😀", "😀!\uE123|😀")]
    [InlineData(@".", "a😀\n", "a|😀")]
    [InlineData(@"\P{L}", "a1😀𝐀", "1|😀")]
    [InlineData(@"[\P{L}]", "a1😀𝐀", "1|😀")]
    [InlineData(@"\p{^L}", "a1😀𝐀", "1|😀")]
    [InlineData(@"\p{So}", "😀\uE000©", "😀|©")]
    [InlineData(@"\p{Co}", "\uE000a\U000F0000\uF8FF", "\uE000|\U000F0000|\uF8FF")]
    [InlineData(@"\p{Han}+", "漢字かな𠀀〇", "漢字|𠀀〇")]
    [InlineData("[\U00020000-\U0002A6DFa]+", "a𠀀b😀", "a𠀀")]
    [InlineData("😀+", "😀😀😁", "😀😀")]
    [InlineData("[^😀]", "a😀😁", "a|😁")]
    [InlineData("\uE000", "\uE000\uE001", "\uE000")]
    [InlineData(@"(?i:'s|'ll)", "'S 'ſ 'lL 'x", "'S|'ſ|'lL")]
    [InlineData(@"(?i)ab(?-i)C", "aBC abc ABC", "aBC|ABC")]
    [InlineData(@"a++b", "aab", "aab")]
    [InlineData(@"a++a", "aaa", "")]
    [InlineData(@"a{1,2}+b", "aaaab", "aaaab")]
    [InlineData(@"a{,2}", "aaa", "aa|a|")]
    [InlineData(@"^a$", "a\nb\na", "a|a")]
    [InlineData(@"(?m:.)", "a\n", "a|\n")]
    [InlineData(@"[a-z&&[^aeiou]]+", "hello", "h|ll")]
    [InlineData(@"[a-z&&b-y]+", "abyz", "by")]
    [InlineData(@"[\p{L}&&[^\p{Han}]]+", "ab漢c", "ab|c")]
    [InlineData(@"[[:digit:][:space:]]+", "a1 2b", "1 2")]
    [InlineData(@"[x[yz]]+", "axyzb", "xyz")]
    [InlineData(@"\x{1F600}|\u0041", "😀A", "😀|A")]
    [InlineData(@"\s+(?!\S)|\s+", "a   b\u00A0 \u0085", "  | |\u00A0 \u0085")]
    [InlineData(@"\w+", "a_é𝐀 1-\u0301", "a_é𝐀|1|\u0301")]
    [InlineData(@"\w", "Ⓐ²\u200D", "Ⓐ|²")]
    [InlineData(@"[\w]", "Ⓐ²", "Ⓐ")]
    [InlineData(@"[^\w]", "Ⓐ²x", "²")]
    [InlineData(@"\W+", "a\U0001F150 -b\U0001F150", " -")]
    [InlineData(@"\bx", "x² x²x", "x|x")]
    [InlineData(@"[[:alpha:]]+", "aⅧ\u0301ि\U0001F150", "aⅧ|ि\U0001F150")]
    [InlineData(@"[[:upper:]][[:lower:]]", "Ⅷⅷ Aª", "Ⅷⅷ|Aª")]
    [InlineData(@"(?i:[r-t]|k|σ)", "ſKςRu", "ſ|K|ς|R")]
    [InlineData(@"\h+\R", "0aF\r\n", "0aF\r\n")]
    [InlineData(@"\p{^Han}", "漢a𠀀", "a")]
    [InlineData(@"[]a]", "]a", "]|a")]
    public void A_pattern_matches_whole_code_points(string pattern, string text, string expected)
    {
        var sink = new Collector(text);
        new RegexPattern(pattern).Find(text, ref sink);
        Assert.Equal(expected, string.Join('|', sink.Matches));
    }

    [Theory]
    [InlineData("(", "never closed")]
    [InlineData(")", "unmatched")]
    [InlineData("[", "never closed")]
    [InlineData("*a", "nothing to repeat")]
    [InlineData(@"(a)\1", "back reference")]
    [InlineData(@"\p{Greek}", "Greek")]
    [InlineData(@"(?<name>a)", "a group that is none of")]
    [InlineData(@"\", "backslash")]
    [InlineData("[z-a]", "reverse order")]
    [InlineData(@"[a[^b]]", "negated")]
    public void What_is_not_supported_is_refused_by_name(string pattern, string complaint)
    {
        Assert.Contains(complaint, Assert.Throws<ArgumentException>(() => new RegexPattern(pattern)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Mapping_does_not_change_what_plain_text_matches()
    {
        const string Alphabet = "ab'sLL 12\r\n\t.,é漢\u00A0½";
        // The same text twice, the second time with a character that makes the mapped regex run.
        var pattern = new RegexPattern(TokenizerJson.Llama3Pattern);
        var random = new Random(7);
        for (var round = 0; round < 500; round++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(1, 30)).Select(_ => Alphabet[random.Next(Alphabet.Length)])) + " ";
            var (plain, mapped) = (new Collector(text), new Collector(text));
            pattern.Find(text, ref plain);
            pattern.Find(text + "😀", ref mapped);
            var last = mapped.Matches.Count - 1;
            Assert.Equal(string.Concat(plain.Matches), string.Concat(mapped.Matches.Take(last)) + " ");
            Assert.Equal(plain.Matches.SkipLast(1), mapped.Matches.Take(last).Take(plain.Matches.Count - 1));
        }
    }

    private struct Collector(string text) : IMatchSink
    {
        public List<string> Matches { get; } = [];

        public readonly void Match(int start, int end) => Matches.Add(end <= text.Length ? text[start..end] : text[start..] + "😀");
    }
}
