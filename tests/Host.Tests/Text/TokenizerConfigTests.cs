using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>What tokenizer_config.json and added_tokens.json add to tokenizer.json, as Hugging Face's transformers apply it.</summary>
public sealed class TokenizerConfigTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("scriptedserve-tokenizer-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void Added_tokens_only_in_tokenizer_config_follow_the_vocabulary_in_the_order_of_their_ids()
    {
        var tokenizer = Load("""
            {"added_tokens_decoder": {
               "260": {"content": "<late>", "special": false, "lstrip": true},
               "258": {"content": "<early>", "special": true},
               "97": {"content": "a", "special": false}},
             "eos_token": "<early>", "pad_token": {"content": "<pad>", "lstrip": false}, "additional_special_tokens": ["<more>"], "bos_token": null}
            """);
        Assert.Equal([98, 256, 257, 258, 259, 97], tokenizer.Encode("b<early> <late><pad><more>a", addSpecialTokens: false));
        Assert.Equal("b<late>", tokenizer.Decode([98, 256, 257, 258, 259]));
        Assert.Equal(260, tokenizer.VocabSize);
    }

    [Fact]
    public void Flags_in_tokenizer_config_replace_those_of_tokenizer_json()
    {
        const string Config = """{"added_tokens_decoder": {"256": {"content": "<x>", "special": true, "rstrip": true}}}""";
        var json = TokenizerJson.ByteLevel().With("added_tokens", """[{"id": 256, "content": "<x>", "special": true}]""");
        Assert.Equal([256, 32, 97], Load("{}", json).Encode("<x> a", addSpecialTokens: false));
        Assert.Equal([256, 97], Load(Config, json).Encode("<x> a", addSpecialTokens: false));
    }

    [Fact]
    public void An_older_folder_lists_its_added_tokens_in_a_file_of_their_own()
    {
        File.WriteAllText(Path.Combine(folder, "added_tokens.json"), """{"<second>": 257, "<first>": 256}""");
        Assert.Equal([257, 256], Load("{}").Encode("<second><first>", addSpecialTokens: false));
    }

    [Fact]
    public void Tokens_the_model_has_no_room_for_stay_text()
    {
        var tokenizer = Load("""{"pad_token": "<p>", "eos_token": "a"}""", maxIds: 256);
        Assert.Equal([60, 112, 62, 97], tokenizer.Encode("<p>a", addSpecialTokens: false));
        Assert.Equal("<p>", tokenizer.Decode([60, 112, 62, 97]));
    }

    [Theory]
    [InlineData("LlamaTokenizerFast", true, false, "<s>hi")]
    [InlineData("LlamaTokenizer", false, true, "hi</s>")]
    [InlineData("GemmaTokenizer", true, true, "<s>hi</s>")]
    [InlineData("PreTrainedTokenizerFast", true, true, "hi")]
    public void The_classes_that_add_bos_and_eos_by_switches_do_so_whatever_tokenizer_json_says(string kind, bool bos, bool eos, string expected)
    {
        var tokenizer = Load($$"""{"tokenizer_class": "{{kind}}", "add_bos_token": {{(bos ? "true" : "false")}}, "add_eos_token": {{(eos ? "true" : "false")}}, "bos_token": "<s>", "eos_token": "</s>"}""");
        Assert.Equal(expected, tokenizer.Decode(tokenizer.Encode("hi", addSpecialTokens: true), skipSpecialTokens: false));
    }

    [Theory]
    [InlineData("[]", "$: expected an object, found []")]
    [InlineData("""{"added_tokens_decoder": {"x": {"content": "a"}}}""", "$.added_tokens_decoder.x: expected a token id of 0..4194303 as the name, found \"x\"")]
    [InlineData("""{"added_tokens_decoder": {"1": {"special": true}}}""", "$.added_tokens_decoder.1: expected a field \"content\", found none")]
    [InlineData("""{"bos_token": 1}""", "$.bos_token: expected a string, found 1")]
    [InlineData("{", "not valid JSON")]
    public void A_damaged_tokenizer_config_is_refused_with_the_place(string config, string complaint)
    {
        var message = Assert.Throws<TokenizerException>(() => Load(config)).Message;
        Assert.StartsWith(Path.Combine(folder, "tokenizer_config.json"), message, StringComparison.Ordinal);
        Assert.Contains(complaint, message, StringComparison.Ordinal);
    }

    private HuggingFaceTokenizer Load(string config, System.Text.Json.Nodes.JsonObject? tokenizer = null, int maxIds = int.MaxValue)
    {
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), (tokenizer ?? TokenizerJson.ByteLevel()).ToJsonString());
        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), config);
        return HuggingFaceTokenizer.Load(folder, maxIds);
    }
}
