using System.Text.Json;
using ScriptedServe.Host.Text;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>Real tokenizers against the ids that Hugging Face gives.</summary>
public class TokenizerCasesTests
{
    [RequiresTheory(Need.TestData)]
    [InlineData("deepseek-coder")]
    [InlineData("gpt2")]
    [InlineData("llama-2-spm")]
    [InlineData("llama-3")]
    [InlineData("phi-3")]
    [InlineData("qwen2")]
    public void A_real_tokenizer_gives_the_ids_of_Hugging_Face(string name)
    {
        var folder = TestPaths.InTestData("tokenizers", name);
        var tokenizer = HuggingFaceTokenizer.Load(folder);
        using var file = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "cases.json")));
        var prefix = Ids(file.RootElement.GetProperty("add_special_prefix"));
        var wrong = new List<string>();
        var seen = 0;
        foreach (var item in file.RootElement.GetProperty("cases").EnumerateArray())
        {
            seen++;
            var text = item.GetProperty("text").GetString()!;
            var expected = Ids(item.GetProperty("ids"));
            Check(text, expected, tokenizer.Encode(text, addSpecialTokens: false));
            Check(text, [.. prefix, .. expected], tokenizer.Encode(text, addSpecialTokens: true));
            var decoded = item.TryGetProperty("decoded", out var stated) && stated.ValueKind == JsonValueKind.String ? stated.GetString() : text;
            if (tokenizer.Decode(expected, skipSpecialTokens: false) is var actual && actual != decoded)
            {
                wrong.Add($"{JsonSerializer.Serialize(decoded)} decodes to {JsonSerializer.Serialize(actual)}");
            }
        }

        Assert.NotEqual(0, seen);
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));

        void Check(string text, int[] expected, int[] actual)
        {
            if (!actual.SequenceEqual(expected))
            {
                wrong.Add($"{JsonSerializer.Serialize(text)}: expected {string.Join(' ', expected)}, got {string.Join(' ', actual)}");
            }
        }
    }

    [RequiresTheory(Need.TestData)]
    [InlineData("llama-f32")]
    [InlineData("mistral-f16-swa")]
    [InlineData("qwen2-bf16-sharded")]
    public void A_golden_model_s_tokenizer_gives_the_ids_and_texts_it_was_run_with(string name)
    {
        var tokenizer = HuggingFaceTokenizer.Load(TestPaths.InTestData("models", name));
        using var file = JsonDocument.Parse(File.ReadAllBytes(TestPaths.InTestData("models", $"{name}.cases.json")));
        var kinds = new HashSet<string>();
        foreach (var item in file.RootElement.GetProperty("cases").EnumerateArray())
        {
            var kind = item.GetProperty("kind").GetString()!;
            kinds.Add(kind);
            Assert.Equal(item.GetProperty("expected_text").GetString(), tokenizer.Decode(Ids(item.GetProperty("expected_ids"))));
            if (kind == "text")
            {
                Assert.Equal(Ids(item.GetProperty("prompt")), tokenizer.Encode(item.GetProperty("text").GetString()!, addSpecialTokens: true));
            }
            else if (kind == "chat")
            {
                Assert.Equal(Ids(item.GetProperty("prompt")), tokenizer.Encode(item.GetProperty("rendered").GetString()!, addSpecialTokens: false));
            }
        }

        Assert.Superset(new HashSet<string> { "text", "chat" }, kinds);
    }

    [RequiresTheory(Need.TestData)]
    [InlineData("llama-3")]
    [InlineData("llama-2-spm")]
    [InlineData("mistral-v3")]
    [InlineData("deepseek-coder")]
    public void Any_tokens_of_a_real_vocabulary_stream_to_the_text_they_decode_to(string name)
    {
        var tokenizer = HuggingFaceTokenizer.Load(TestPaths.InTestData("tokenizers", name));
        Streams.AssertSameAsWhole(tokenizer, rounds: 400, seed: 1);
    }

    [Fact]
    public void The_built_in_model_s_tokenizer_gives_the_ids_its_golden_runs_began_and_ended_with()
    {
        var tokenizer = HuggingFaceTokenizer.Load(TestPaths.InRepository("engine", "models", "storyteller"));
        using var file = JsonDocument.Parse(File.ReadAllBytes(TestPaths.InRepository("tests", "data", "storyteller.cases.json")));
        var cases = file.RootElement.GetProperty("cases").EnumerateArray().ToArray();
        Assert.NotEmpty(cases);
        Assert.All(cases, item =>
        {
            // Either a text, to be begun with the special token, or a rendered conversation, which holds its own.
            var isText = item.TryGetProperty("text", out var text);
            var prompt = (isText ? text : item.GetProperty("rendered")).GetString()!;
            Assert.Equal(Ids(item.GetProperty("ids")), tokenizer.Encode(prompt, addSpecialTokens: isText));
            Assert.Equal(item.GetProperty("greedy_text").GetString(), tokenizer.Decode(Ids(item.GetProperty("greedy")), skipSpecialTokens: false));
        });
    }

    public static TheoryData<string> Shapes() => [.. Directory.GetFiles(TestPaths.InRepository("tests", "data", "tokenizers"), "*.tokenizer.json")
        .Select(file => Path.GetFileName(file)[..^".tokenizer.json".Length]).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Shapes))]
    public void A_small_tokenizer_of_any_family_s_shape_gives_the_ids_and_texts_of_Hugging_Face(string name)
    {
        var tokenizer = HuggingFaceTokenizer.Load(TestPaths.InRepository("tests", "data", "tokenizers", $"{name}.tokenizer.json"));
        using var file = JsonDocument.Parse(File.ReadAllBytes(TestPaths.InRepository("tests", "data", "tokenizers", $"{name}.cases.json")));
        var (encoded, decoded) = (0, 0);
        foreach (var item in file.RootElement.GetProperty("encoded").EnumerateArray())
        {
            encoded++;
            var text = item.GetProperty("text").GetString()!;
            Assert.Equal(Ids(item.GetProperty("ids")), tokenizer.Encode(text, addSpecialTokens: false));
            Assert.Equal(Ids(item.GetProperty("full")), tokenizer.Encode(text, addSpecialTokens: true));
        }

        foreach (var item in file.RootElement.GetProperty("decoded").EnumerateArray())
        {
            // Bytes that are no text are where ours goes its own way; see ByteFallbackDecoder.
            var (text, plain) = (item.GetProperty("text").GetString()!, item.GetProperty("plain").GetString()!);
            if (!text.Contains('\uFFFD', StringComparison.Ordinal))
            {
                decoded++;
                Assert.Equal(text, tokenizer.Decode(Ids(item.GetProperty("ids")), skipSpecialTokens: false));
                Assert.Equal(plain, tokenizer.Decode(Ids(item.GetProperty("ids")), skipSpecialTokens: true));
            }
        }

        Assert.True(encoded >= 80 && decoded >= 3, $"{encoded} texts, {decoded} lists of tokens");
    }

    private static int[] Ids(JsonElement array) => [.. array.EnumerateArray().Select(id => id.GetInt32())];
}
