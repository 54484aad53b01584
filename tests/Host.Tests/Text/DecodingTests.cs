using System.Text;
using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Tests.Text;

public class DecodingTests
{
    [Fact]
    public void Bytes_of_a_character_are_held_until_it_is_whole()
    {
        var stream = TokenizerJson.ByteLevel().Load().CreateDecoder();
        var emoji = Encoding.UTF8.GetBytes("😀");
        Assert.Equal("", stream.Push([emoji[0], emoji[1]]));
        Assert.Equal("", stream.Push([emoji[2]]));
        Assert.Equal("😀a", stream.Push([emoji[3], 'a']));
        Assert.Equal("", stream.Flush());
    }

    [Fact]
    public void Bytes_that_never_become_a_character_are_replaced_where_they_stand()
    {
        var tokenizer = TokenizerJson.ByteLevel().Load();
        Assert.Equal("a\uFFFDb\uFFFD", tokenizer.Decode([97, 0xE4, 0xBD, 98, 0xF0, 0x9F]));
        var stream = tokenizer.CreateDecoder();
        Assert.Equal("a", stream.Push([97, 0xE4, 0xBD]));
        Assert.Equal("\uFFFDb", stream.Push([98]));
        Assert.Equal("", stream.Push([0xF0, 0x9F]));
        Assert.Equal("\uFFFD", stream.Flush());
        Assert.Equal("", stream.Flush());
    }

    [Fact]
    public void Any_bytes_stream_to_the_text_they_decode_to() => Streams.AssertSameAsWhole(TokenizerJson.ByteLevel("a b", "Ã ©").Load(), rounds: 3000, seed: 2);

    [Fact]
    public void Any_SentencePiece_tokens_stream_to_the_text_they_decode_to() =>
        Streams.AssertSameAsWhole(TokenizerJson.SentencePiece("▁abé", "▁ a", "▁ ▁").Load(), rounds: 3000, seed: 3);

    [Fact]
    public void Only_the_first_space_of_a_SentencePiece_stream_is_dropped()
    {
        var tokenizer = TokenizerJson.SentencePiece("▁ab", "▁ a").Load();
        var stream = tokenizer.CreateDecoder();
        Assert.Equal("", stream.Push([259]));
        Assert.Equal(" a a", stream.Push([262, 262]));
        Assert.Equal(" a b", tokenizer.Decode(tokenizer.Encode(" a b", false)));
    }

    [Fact]
    public void Byte_tokens_spell_characters_as_soon_as_they_are_whole()
    {
        var tokenizer = TokenizerJson.SentencePiece("▁a").Load();
        var stream = tokenizer.CreateDecoder();
        Assert.Equal("", stream.Push([3 + 0xC3]));
        Assert.Equal("é", stream.Push([3 + 0xA9]));
        Assert.Equal("", stream.Push([3 + 0xC3]));
        Assert.Equal("\uFFFDa", stream.Push([260]));
        Assert.Equal("é\uFFFDa", tokenizer.Decode([3 + 0xC3, 3 + 0xA9, 3 + 0xC3, 260]));
    }

    [Theory]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}""", "a b")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"never"}""", " a b")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Replace","pattern":{"String":"a▁"},"content":"-"}]}""", "▁-b")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":"b","start":0,"stop":1}]}""", "▁a▁")]
    [InlineData("""{"type":"Strip","content":"▁","start":1,"stop":0}""", "ab")]
    [InlineData("null", "▁ a ▁ b")]
    public void A_decoder_joins_tokens_as_it_should(string decoder, string expected) =>
        Assert.Equal(expected, TokenizerJson.SentencePiece("▁ab").With("decoder", decoder).Load().Decode([259, 260, 259, 261]));

    [Theory]
    [InlineData(0, 2, "xaxxbxxx", "xaxxbx")]
    [InlineData(2, 2, "xxx", "")]
    [InlineData(1, 0, "xxax", "xax")]
    [InlineData(1, 1, "xx", "")]
    public void Stripping_counts_from_the_ends_however_the_text_arrives(int start, int stop, string text, string expected)
    {
        var strip = new JsonObject { ["type"] = "Strip", ["content"] = "x", ["start"] = start, ["stop"] = stop };
        var tokenizer = TokenizerJson.SentencePiece("xab").With("decoder", new JsonObject
        {
            ["type"] = "Sequence",
            ["decoders"] = new JsonArray(new JsonObject { ["type"] = "Fuse" }, strip),
        }).Load();
        Assert.Equal(expected, tokenizer.Decode([.. text.Select(letter => 259 + "xab".IndexOf(letter, StringComparison.Ordinal))]));
    }

    [Fact]
    public void Special_tokens_appear_only_on_request_and_other_added_ones_always()
    {
        var tokenizer = TokenizerJson.ByteLevel().With("added_tokens", new JsonArray(
            TokenizerJson.Added(256, "<|end|>"), TokenizerJson.Added(257, "<tool>", special: false), TokenizerJson.Added(245, "õ", special: false))).Load();
        Assert.Equal("a<tool>õ", tokenizer.Decode([97, 256, 257, 245]));
        Assert.Equal("a<|end|><tool>õ", tokenizer.Decode([97, 256, 257, 245], skipSpecialTokens: false));
        Assert.Equal(258, tokenizer.VocabSize);
    }

    [Fact]
    public void A_described_token_has_its_exact_bytes()
    {
        var bytes = TokenizerJson.ByteLevel("Ġ a", "ð Ł").With("added_tokens", new JsonArray(TokenizerJson.Added(258, "<|é|>"))).Load();
        AssertDescribed(" a", " a"u8.ToArray(), bytes.Describe(256));
        AssertDescribed("\uFFFD", [0xF0, 0x9F], bytes.Describe(257));
        AssertDescribed("<|é|>", "<|é|>"u8.ToArray(), bytes.Describe(258));
        AssertDescribed("", [], bytes.Describe(1000));
        AssertDescribed("", [], bytes.Describe(-1));
        var pieces = TokenizerJson.SentencePiece("▁ab", "▁ a").Load();
        AssertDescribed(" a", " a"u8.ToArray(), pieces.Describe(262));
        AssertDescribed("\uFFFD", [0xC3], pieces.Describe(3 + 0xC3));
    }

    private static void AssertDescribed(string text, byte[] bytes, (string Text, byte[] Bytes) described)
    {
        Assert.Equal(text, described.Text);
        Assert.Equal(bytes, described.Bytes);
    }

    [Fact]
    public void Described_bytes_joined_are_the_text()
    {
        var tokenizer = TokenizerJson.ByteLevel("a b", "Ã ©", "Ġ a").Load();
        const string Text = "abé a 😀 ab";
        Assert.Equal(Text, Encoding.UTF8.GetString([.. tokenizer.Encode(Text, false).SelectMany(id => tokenizer.Describe(id).Bytes)]));
    }

    [Fact]
    public void A_finished_stream_takes_no_more_tokens()
    {
        var stream = TokenizerJson.ByteLevel().Load().CreateDecoder();
        stream.Flush();
        Assert.Throws<ObjectDisposedException>(() => stream.Push([97]));
    }
}
