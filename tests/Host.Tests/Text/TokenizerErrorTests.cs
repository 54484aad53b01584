using System.Text;
using System.Text.Json.Nodes;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.Tests.Text;

public class TokenizerErrorTests
{
    [Theory]
    [InlineData("model", """{"type":"WordPiece"}""", "$.model: model WordPiece is not supported", "BPE, Unigram")]
    [InlineData("model", """{"type":"Unigram","unk_id":0}""", "$.model: expected a field \"vocab\"", "none")]
    [InlineData("model", """{"type":"Unigram","vocab":[["a",-1]]}""", "$.model: expected a field \"unk_id\"", "none")]
    [InlineData("model", """{"type":"Unigram","unk_id":1,"vocab":[["a",-1]]}""", "$.model.unk_id: expected the id of one of the 1 tokens", "1")]
    [InlineData("model", """{"type":"Unigram","unk_id":0,"vocab":[["a",-1],["b","x"]]}""", "$.model.vocab[1]: expected [\"token\", log-probability]", "[\"b\",\"x\"]")]
    [InlineData("model", """{"type":"Unigram","unk_id":0,"vocab":[]}""", "$.model.vocab: expected 1..", "0 tokens")]
    [InlineData("model", "null", "$: expected a field \"model\"", "none")]
    [InlineData("model", """{"vocab":{"a":-1},"merges":[]}""", "$.model.vocab.a: expected a token id", "-1")]
    [InlineData("model", """{"vocab":{"a":99999999},"merges":[]}""", "$.model.vocab.a: expected a token id of 0..4194303", "99999999")]
    [InlineData("model", """{"vocab":[],"merges":[]}""", "$.model.vocab: expected an object", "[]")]
    [InlineData("model", """{"vocab":{"a":0,"b":1},"merges":["a b"]}""", "$.model.merges[0]: expected two tokens whose union", "a b")]
    [InlineData("model", """{"vocab":{"a":0,"aa":1},"merges":["a a","a c"]}""", "$.model.merges[1]: expected two tokens of the vocabulary", "a c")]
    [InlineData("model", """{"vocab":{"a":0},"merges":["a"]}""", "$.model.merges[0]: expected \"left right\"", "\"a\"")]
    [InlineData("model", """{"vocab":{"a":0},"merges":[],"unk_token":"?"}""", "$.model.unk_token: expected a token of the vocabulary", "?")]
    [InlineData("model", """{"vocab":{"a":0},"merges":[],"dropout":0.1}""", "$.model.dropout: dropout 0.1 is not supported", "null or 0")]
    [InlineData("normalizer", """{"type":"BertNormalizer"}""", "$.normalizer: normalizer BertNormalizer is not supported", "NFC")]
    [InlineData("normalizer", """{"type":"Precompiled","precompiled_charsmap":"AAA"}""", "$.normalizer.precompiled_charsmap: expected a character map in base64", "found")]
    [InlineData("normalizer", """{"type":"Precompiled","precompiled_charsmap":"/////w=="}""", "$.normalizer.precompiled_charsmap: expected a character map in base64", "4 bytes")]
    [InlineData("normalizer", """{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"X"}]}""", "$.normalizer.normalizers[1]: normalizer X", "Replace")]
    [InlineData("pre_tokenizer", """{"type":"UnicodeScripts"}""", "$.pre_tokenizer: pre-tokenizer UnicodeScripts is not supported", "Split")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"(a)\\1"},"behavior":"Isolated"}""", "$.pre_tokenizer.pattern.Regex: the regex", "back references")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"String":"a"},"behavior":"Lost"}""", "$.pre_tokenizer.behavior: expected Removed", "Lost")]
    [InlineData("pre_tokenizer", """{"type":"Metaspace","replacement":"ab"}""", "$.pre_tokenizer.replacement: expected a string of one character", "ab")]
    [InlineData("decoder", """{"type":"CTC"}""", "$.decoder: decoder CTC is not supported", "ByteFallback")]
    [InlineData("post_processor", """{"type":"TemplateProcessing","single":[],"special_tokens":{}}""", "$.post_processor.single: expected a place", "[]")]
    [InlineData("added_tokens", """[{"id":"x","content":"a"}]""", "$.added_tokens[0].id: expected an integer", "\"x\"")]
    [InlineData("added_tokens", "{}", "$.added_tokens: expected an array", "{}")]
    public void A_wrong_file_is_refused_with_the_place_and_what_would_do(string field, string value, string place, string detail)
    {
        var json = TokenizerJson.ByteLevel("a b").With(field, value);
        var message = Assert.Throws<TokenizerException>(json.Load).Message;
        Assert.StartsWith($"tokenizer.json: {place}", message, StringComparison.Ordinal);
        Assert.Contains(detail, message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_file_is_named()
    {
        var path = Path.Combine(Path.GetTempPath(), "no-such-folder", "tokenizer.json");
        Assert.Contains(path, Assert.Throws<TokenizerException>(() => HuggingFaceTokenizer.Load(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_string_that_is_not_Unicode_is_refused()
    {
        var json = """{"model":{"vocab":{"a":0},"merges":[]},"normalizer":{"type":"Prepend","prepend":"\ud83d"}}"""u8.ToArray();
        Assert.Contains("Unicode", Assert.Throws<TokenizerException>(() => HuggingFaceTokenizer.Parse(json, "t")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Damaged_files_are_refused_or_work_but_never_crash()
    {
        var original = Encoding.UTF8.GetBytes(TokenizerJson.SentencePiece("▁abc", "▁ a", "a b")
            .With("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"\\s?\\p{L}+|[a-z&&[^x]]{1,3}|(?i:b)"},"behavior":"Isolated","invert":false}""")
            .With("post_processor", """{"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",1]}""").ToJsonString());
        var random = new Random(17);
        var (refused, worked) = (0, 0);
        for (var round = 0; round < 800; round++)
        {
            var bytes = original.ToArray();
            for (var edits = random.Next(1, 4); edits > 0; edits--)
            {
                // Mostly a character for one of its own kind, which keeps the JSON whole; at times anything at all.
                ref var edited = ref bytes[random.Next(bytes.Length)];
                edited = (char)edited switch
                {
                    _ when random.Next(8) == 0 => (byte)random.Next(256),
                    >= '0' and <= '9' => (byte)random.Next('0', '9' + 1),
                    >= 'a' and <= 'z' or >= 'A' and <= 'Z' => (byte)"abcxyzABCLNpsu"[random.Next(14)],
                    '+' or '?' or '*' or '|' or '^' or '&' => (byte)"+?*|^&-."[random.Next(8)],
                    _ => edited,
                };
            }

            if (round % 10 == 0)
            {
                bytes = bytes[..random.Next(bytes.Length)];
            }

            try
            {
                var tokenizer = HuggingFaceTokenizer.Parse(bytes, "t");
                tokenizer.Decode(tokenizer.Encode("ab c <s> 😀 abcabc", addSpecialTokens: true));
                worked++;
            }
            catch (TokenizerException)
            {
                refused++;
            }
        }

        Assert.True(refused > 200 && worked > 50, $"{refused} refused, {worked} worked");
    }

    [Fact]
    public void Deep_nesting_is_refused()
    {
        var json = string.Concat(Enumerable.Repeat("""{"type":"Sequence","normalizers":[""", 10_000));
        Assert.Throws<TokenizerException>(() => HuggingFaceTokenizer.Parse(Encoding.UTF8.GetBytes("{\"normalizer\":" + json), "t"));
        var groups = new string('(', 10_000) + new string(')', 10_000);
        Assert.Throws<TokenizerException>(TokenizerJson.ByteLevel().With("pre_tokenizer", new JsonObject
        {
            ["type"] = "Split",
            ["pattern"] = new JsonObject { ["Regex"] = groups },
            ["behavior"] = "Isolated",
        }).Load);
    }
}
