using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>One component of a tokenizer.json at a time.</summary>
public class TokenizerComponentTests
{
    [Fact]
    public void Merges_apply_in_the_order_of_the_file_not_of_the_text()
    {
        var tokenizer = TokenizerJson.ByteLevel("b c", "a b", "a bc").Load();
        Assert.Equal(["abc", "a", "c"], tokenizer.Pieces("abcac"));
    }

    [Fact]
    public void Of_equal_merges_the_leftmost_comes_first() =>
        Assert.Equal(["aa", "aa", "a"], TokenizerJson.ByteLevel("a a").Load().Pieces("aaaaa"));

    [Fact]
    public void A_word_that_is_a_token_skips_the_merges_only_where_the_model_says_so()
    {
        var json = TokenizerJson.ByteLevel("a b");
        json["model"]!["vocab"]!["abc"] = 300;
        Assert.Equal(["ab", "c"], json.Load().Pieces("abc"));
        json["model"]!["ignore_merges"] = true;
        Assert.Equal(["abc"], json.Load().Pieces("abc"));
    }

    [Fact]
    public void Merges_may_be_pairs_and_then_hold_spaces()
    {
        var json = TokenizerJson.SentencePiece(" ▁ab").With("normalizer", (JsonNode?)null);
        json["model"]!["vocab"]!["a b"] = 400;
        json["model"]!["vocab"]!["a "] = 401;
        json["model"]!["merges"] = new JsonArray(new JsonArray("a", " "), new JsonArray("a ", "b"));
        Assert.Equal([400], json.Load().Encode("a b", addSpecialTokens: false));
    }

    [Fact]
    public void Affixes_mark_the_inside_and_the_end_of_a_word()
    {
        var json = JsonNode.Parse("""
            {"model": {"type": "BPE", "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>",
              "vocab": {"a": 0, "##b": 1, "##c</w>": 2, "ab": 3, "abc</w>": 4, "a</w>": 5}, "merges": ["a ##b", "ab ##c</w>"]},
             "pre_tokenizer": {"type": "Whitespace"}}
            """)!.AsObject();
        Assert.Equal([4, 5], json.Load().Encode("abc a", addSpecialTokens: false));
    }

    [Fact]
    public void Unknown_characters_fall_back_to_bytes_then_to_the_unknown_token()
    {
        var json = TokenizerJson.SentencePiece("▁ab");
        Assert.Equal([259, 260, 3 + 0xC3, 3 + 0xA9, 261], json.Load().Encode("aéb", addSpecialTokens: false));
        json["model"]!["byte_fallback"] = false;
        Assert.Equal([259, 260, 0, 261], json.Load().Encode("aéèb", addSpecialTokens: false));
        json["model"]!["fuse_unk"] = false;
        Assert.Equal([259, 260, 0, 0, 261], json.Load().Encode("aéèb", addSpecialTokens: false));
        json["model"]!["unk_token"] = null;
        Assert.Equal([259, 260, 261], json.Load().Encode("aéèb", addSpecialTokens: false));
    }

    [Fact]
    public void Cutting_before_spaces_changes_no_token()
    {
        // With and without a token that spans a word's end, which forbids the cuts.
        var cut = TokenizerJson.SentencePiece("▁abc", "▁ a", "▁ ▁", "a b", "▁a b").Load();
        var uncut = TokenizerJson.SentencePiece("▁abc", "▁ a", "▁ ▁", "a b", "▁a b");
        uncut["model"]!["vocab"]!["zzz▁"] = 500;
        var whole = uncut.Load();
        var random = new Random(3);
        for (var round = 0; round < 300; round++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(40)).Select(_ => " abcé"[random.Next(5)]));
            Assert.Equal(whole.Encode(text, false), cut.Encode(text, false));
        }
    }

    [Theory]
    [InlineData("Removed", false, "ab|cd")]
    [InlineData("Isolated", false, "ab|-|-|cd|-")]
    [InlineData("MergedWithPrevious", false, "ab-|-|cd-")]
    [InlineData("MergedWithNext", false, "ab|-|-cd|-")]
    [InlineData("Contiguous", false, "ab|--|cd|-")]
    [InlineData("Removed", true, "-|-|-")]
    [InlineData("MergedWithNext", true, "ab-|-|cd-")]
    public void A_split_behaves_as_named(string behavior, bool invert, string expected)
    {
        var json = WholeWords().With("pre_tokenizer", new JsonObject
        {
            ["type"] = "Split",
            ["pattern"] = new JsonObject { ["String"] = "-" },
            ["behavior"] = behavior,
            ["invert"] = invert,
        });
        Assert.Equal(expected, string.Join('|', Words(json, "ab--cd-")));
    }

    [Theory]
    [InlineData("""{"type":"Digits","individual_digits":true}""", "a12½", "a|1|2|½")]
    [InlineData("""{"type":"Digits","individual_digits":false}""", "a12½b", "a|12½|b")]
    [InlineData("""{"type":"Punctuation"}""", "a,b$。c", "a|,|b|$|。|c")]
    [InlineData("""{"type":"Punctuation","behavior":"Contiguous"}""", "a,$b", "a|,$|b")]
    [InlineData("""{"type":"Whitespace"}""", "it's  a_b!? 😀", "it|'|s|a_b|!?|😀")]
    [InlineData("""{"type":"WhitespaceSplit"}""", "it's  a\u00A0b", "it's|a|b")]
    [InlineData("""{"type":"CharDelimiterSplit","delimiter":"-"}""", "a--b", "a|b")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}""", "a  b", "▁a|▁|▁b")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":false}""", "a b", "a▁b")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","add_prefix_space":true}""", " a", "▁a")]
    [InlineData("""{"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":true,"use_regex":true},{"type":"Digits","individual_digits":true}]}""", "a 12é", "Ġa|Ġ|1|2|Ã©")]
    public void A_pre_tokenizer_cuts_as_it_should(string preTokenizer, string text, string expected) =>
        Assert.Equal(expected, string.Join('|', Words(WholeWords().With("pre_tokenizer", preTokenizer), text)));

    [Theory]
    [InlineData("""{"type":"NFC"}""", "e\u0301", "é")]
    [InlineData("""{"type":"NFKC"}""", "ﬁ①", "fi1")]
    [InlineData("""{"type":"NFD"}""", "é", "e\u0301")]
    [InlineData("""{"type":"Sequence","normalizers":[{"type":"NFKD"},{"type":"StripAccents"},{"type":"Lowercase"}]}""", "ÉﬁÅ", "efia")]
    [InlineData("""{"type":"Lowercase"}""", "ÀİΣ𐐀", "ài\u0307σ𐐨")]
    [InlineData("""{"type":"Strip","strip_left":true,"strip_right":false}""", "\u3000a ", "a ")]
    [InlineData("""{"type":"Replace","pattern":{"Regex":"\\s+"},"content":"$0"}""", "a  b", "a$0b")]
    [InlineData("""{"type":"Prepend","prepend":"▁"}""", "a", "▁a")]
    [InlineData("""{"type":"ByteLevel"}""", "é ", "Ã©Ġ")]
    public void A_normalizer_rewrites_as_it_should(string normalizer, string text, string expected) =>
        Assert.Equal([expected], Words(WholeWords().With("normalizer", normalizer), text));

    [Fact]
    public void Added_tokens_are_found_before_all_else_and_the_longest_wins()
    {
        var tokenizer = TokenizerJson.ByteLevel("a b").With("added_tokens", new JsonArray(
            TokenizerJson.Added(257, "<x>"), TokenizerJson.Added(258, "<x>y"), TokenizerJson.Added(98, "b"))).Load();
        Assert.Equal([97, 98, 258, 257, 60], tokenizer.Encode("ab<x>y<x><", addSpecialTokens: false));
    }

    [Fact]
    public void Added_tokens_strip_and_keep_to_words_as_flagged()
    {
        var tokenizer = TokenizerJson.ByteLevel().With("added_tokens", new JsonArray(
            TokenizerJson.Added(256, "<l>", lstrip: true), TokenizerJson.Added(257, "<r>", rstrip: true), TokenizerJson.Added(258, "word", singleWord: true))).Load();
        Assert.Equal([97, 256, 32, 97], tokenizer.Encode("a \n<l> a", addSpecialTokens: false));
        Assert.Equal([97, 32, 257, 97], tokenizer.Encode("a <r> \t a", addSpecialTokens: false));
        Assert.Equal([257, 256], tokenizer.Encode("<r>  <l>", addSpecialTokens: false));
        Assert.Equal([258, 33], tokenizer.Encode("word!", addSpecialTokens: false));
        Assert.Equal("words".Select(letter => (int)letter), tokenizer.Encode("words", addSpecialTokens: false));
    }

    [Fact]
    public void Added_tokens_marked_normalized_are_found_in_the_normalized_text()
    {
        var tokenizer = TokenizerJson.ByteLevel().With("normalizer", """{"type":"Lowercase"}""").With("added_tokens", new JsonArray(
            TokenizerJson.Added(256, "<Norm>", normalized: true), TokenizerJson.Added(257, "<Raw>"))).Load();
        Assert.Equal([256, 256, 257], tokenizer.Encode("<NORM><norm><Raw>", addSpecialTokens: false));
        Assert.Equal(5, tokenizer.Encode("<RAW>", addSpecialTokens: false).Length);
    }

    [Fact]
    public void Each_stretch_between_special_tokens_is_normalized_by_itself()
    {
        var tokenizer = TokenizerJson.SentencePiece("▁ab", "▁ a", "▁ b").Load();
        Assert.Equal("▁a,<s>,▁b", string.Join(',', tokenizer.Encode("a<s>b", false).Select(id => tokenizer.Describe(id).Text.Replace(' ', '▁'))));
    }

    [Fact]
    public void Only_the_beginning_of_the_input_gets_a_first_space()
    {
        var json = TokenizerJson.SentencePiece("▁ab").With("normalizer", (JsonNode?)null)
            .With("pre_tokenizer", """{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}""");
        Assert.Equal([259, 260, 1, 261], json.Load().Encode("a<s>b", addSpecialTokens: false));
    }

    [Fact]
    public void The_post_processor_puts_special_tokens_around_only_when_asked()
    {
        var tokenizer = TokenizerJson.SentencePiece("▁a").With("post_processor", """
            {"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing",
              "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}],
              "special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]},"</s>":{"id":"</s>","ids":[2],"tokens":["</s>"]}}}]}
            """).Load();
        Assert.Equal([1, 259, 260, 2], tokenizer.Encode("a", addSpecialTokens: true));
        Assert.Equal([259, 260], tokenizer.Encode("a", addSpecialTokens: false));
        Assert.Equal([1, 2], tokenizer.Encode("", addSpecialTokens: true));
        Assert.Empty(tokenizer.Encode("", addSpecialTokens: false));
    }

    [Fact]
    public void Half_a_surrogate_pair_is_encoded_as_the_replacement_character() =>
        Assert.Equal("a\uFFFDb", TokenizerJson.ByteLevel().Load() is var tokenizer ? tokenizer.Decode(tokenizer.Encode("a\uD83Db", false)) : "");

    [Fact]
    public async Task One_tokenizer_serves_many_threads()
    {
        var tokenizer = TokenizerJson.ByteLevel("t h", "th e", "i n").Load();
        var texts = Enumerable.Range(0, 200).Select(i => $"the thin {i} in {i * 7} thing").ToArray();
        var expected = texts.Select(text => TokenizerJson.ByteLevel("t h", "th e", "i n").Load().Encode(text, false)).ToArray();
        await Parallel.ForAsync(0, 2000, (i, _) =>
        {
            Assert.Equal(expected[i % 200], tokenizer.Encode(texts[i % 200], false));
            return ValueTask.CompletedTask;
        });
    }

    private static JsonObject WholeWords() => [];

    /// <summary>The words that reach the model: each ends in the suffix the model marks words with.</summary>
    private static List<string> Words(JsonObject json, string text)
    {
        // Every character the test may meet is a token, and so is every character followed by the end of a word.
        var vocabulary = new JsonObject();
        foreach (var character in "▁ab cdefghilt12½0$_-,!?'。😀éÃ©ĠÉﬁ①\u0301àσ\u0307Å\u00A0s𐐨".EnumerateRunes().Select(rune => rune.ToString()).Distinct())
        {
            vocabulary[character] = vocabulary.Count;
            vocabulary[character + "\n"] = vocabulary.Count;
        }

        json["model"] = new JsonObject { ["type"] = "BPE", ["vocab"] = vocabulary, ["merges"] = new JsonArray(), ["end_of_word_suffix"] = "\n" };
        var tokenizer = json.Load();
        var spelled = string.Concat(tokenizer.Encode(text, false).Select(id => tokenizer.Describe(id).Text));
        return [.. spelled.Split('\n', StringSplitOptions.RemoveEmptyEntries)];
    }
}
