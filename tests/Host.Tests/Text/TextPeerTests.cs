using System.Text.Json;
using System.Text.Json.Nodes;
using ScriptedServe.Host.Text;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>Tokenizers against Hugging Face's Rust library, templates against their JavaScript one.</summary>
public sealed class TextPeerTests : IDisposable
{
    private static readonly string[] Fragments =
    [
        "Hello", " world", "'s", "'LL", " don't", " 123", "4567", "\n", "\r\n", "\t", "  ", "   ", "é", "e\u0301", "漢字", "日本語テキスト", "😀", "👩‍👩‍👧",
        "𝐀𝐁", "𠀀", "٣", "</s>", "<s>", "<|end|>", "<|eot_id|>", "<|bos|>", "▁", "Ġ", "\u0301", "\u00A0", "\u200B", "한글", "ﬁ", "!!!", "...", "=>", "_x",
        "\0", "\u2028", "İ", "\uE000", "नमस्ते", "ไทย", "Москва", "\u0085", "\uFEFF", "½", "²", "Ⅷ", "\u1E9B\u0323", "㎏", "٣٤", "ſ", "K", "\u3000", "\r", "__init__",
        "the", "ing", "1,000.5", "camelCase", "HTTP", "aaaaaaaaaaaa", "<|im_start|>", "[INST]", "\u200D", "\u0323\u0307", "Å", "ＡＢ", "\U000E0001",
    ];

    private readonly string folder = Directory.CreateTempSubdirectory("scriptedserve-peer-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [RequiresFact(Need.Node)]
    public async Task Any_text_and_tokens_of_any_tokenizer_go_both_ways_as_with_the_peer()
    {
        string[] given = TestPaths.TestData is null ? []
            : [.. Directory.GetDirectories(TestPaths.InTestData("tokenizers")), .. Directory.GetDirectories(TestPaths.InTestData("models"))];
        string[] files =
        [
            .. given.Append(TestPaths.InRepository("engine", "models", "storyteller")).Select(model => Path.Combine(model, "tokenizer.json")),
            .. Directory.GetFiles(TestPaths.InRepository("tests", "data", "tokenizers"), "*.tokenizer.json"),
        ];
        foreach (var file in files)
        {
            var tokenizer = HuggingFaceTokenizer.Load(file);
            var random = new Random(29);
            var texts = Enumerable.Range(0, 300).Select(_ => RandomText(random)).ToArray();
            var tokens = Enumerable.Range(0, 300).Select(_ => RandomTokens(random, tokenizer)).ToArray();
            var peer = await AskAsync("interop-text/tokenizer-peer.mjs", new { tokenizer = file, texts, tokens });
            for (var i = 0; i < texts.Length; i++)
            {
                Assert.True(Ids(peer["ids"]![i]).SequenceEqual(tokenizer.Encode(texts[i], addSpecialTokens: false)), $"{file}: {JsonSerializer.Serialize(texts[i])}");
                Assert.True(Ids(peer["full"]![i]).SequenceEqual(tokenizer.Encode(texts[i], addSpecialTokens: true)), $"{file}: {JsonSerializer.Serialize(texts[i])}");

                // Bytes that are no text are where ours goes its own way; see ByteFallbackDecoder.
                var (text, plain) = (peer["texts"]![i]!.GetValue<string>(), peer["plain"]![i]!.GetValue<string>());
                if (!text.Contains('\uFFFD', StringComparison.Ordinal))
                {
                    Assert.Equal(text, tokenizer.Decode(tokens[i], skipSpecialTokens: false));
                    Assert.Equal(plain, tokenizer.Decode(tokens[i], skipSpecialTokens: true));
                }
            }
        }

        static IEnumerable<int> Ids(JsonNode? array) => array!.AsArray().Select(id => id!.GetValue<int>());
    }

    [RequiresFact(Need.Node)]
    public async Task Templates_render_as_with_the_peer()
    {
        var texts = new List<string>
        {
            "{% for m in messages %}{{ loop.index }} {{ m.role | upper }}: {{ m.content | trim }}\n  {% if not loop.last %}-{% endif %}\n{% endfor %}{{ tools | tojson if tools else 'none' }}",
            "{%- set ns = namespace(n=0) -%}\n{% macro show(m, sep='|') %}{{ sep ~ m['content'].split(' ')[-1][::-1] }}{% endmacro %}{% for m in messages if m.role != 'system' %}{% set ns.n = ns.n + m.content.split(' ') | length %}{{ show(m) }}{% endfor %} {{ ns.n }}",
            "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ 'yes' if messages[-1].content.startswith('And') and tools is none else 'no' }}",
        };
        if (TestPaths.TestData is not null)
        {
            texts.AddRange(Directory.GetFiles(TestPaths.InTestData("chat_templates"), "*.jinja").Where(file => !File.ReadAllText(file).Contains("strftime_now", StringComparison.Ordinal)).Select(File.ReadAllText));
        }

        var compared = 0;
        foreach (var text in texts)
        {
            var conversations = Conversations();
            var peer = await AskAsync("interop-text/template-peer.mjs", new { template = text, conversations });
            var template = ChatTemplate.Parse(text, TimeProvider.System, new JsonObject { ["bos_token"] = "<s>", ["eos_token"] = "</s>" });
            for (var i = 0; i < conversations.Count; i++)
            {
                // Where the peer refuses, ours may still know how: the peer has fewer features.
                if (peer[i]?.GetValue<string>() is { } expected)
                {
                    compared++;
                    var item = conversations[i]!;
                    Assert.Equal(expected, template.Render(item["messages"]!.AsArray(), item["tools"]?.AsArray(), item["add_generation_prompt"]!.GetValue<bool>()));
                }
            }
        }

        Assert.True(compared >= 2 * texts.Count, $"only {compared} renderings to compare");
    }

    private static JsonArray Conversations() => JsonNode.Parse("""
        [{"messages": [{"role": "user", "content": " Hello there\n"}],
          "tools": null, "documents": null, "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"},
         {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One & <two>?"},
            {"role": "assistant", "content": "<think>\nso\n</think>\n\n3 😀"}, {"role": "user", "content": "And now?"}],
          "tools": null, "documents": null, "add_generation_prompt": false, "bos_token": "<s>", "eos_token": "</s>"},
         {"messages": [{"role": "user", "content": "Weather in \"São Paulo\"?"}],
          "tools": [{"type": "function", "function": {"name": "weather", "description": "Tells <it>", "parameters":
            {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}, "required": ["city"]}}}],
          "documents": null, "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"}]
        """)!.AsArray();

    private static string RandomText(Random random) => string.Concat(Enumerable.Range(0, random.Next(1, 12)).Select(_ =>
        random.Next(4) > 0 ? Fragments[random.Next(Fragments.Length)] : char.ConvertFromUtf32(random.Next(3) switch
        {
            0 => random.Next(0x20, 0x80),
            1 => random.Next(0x370, 0x600),
            _ => random.Next(0x1F300, 0x1F600),
        })));

    /// <summary>Short lists of any tokens, so that some spell text without broken bytes.</summary>
    private static int[] RandomTokens(Random random, HuggingFaceTokenizer tokenizer) => random.Next(2) == 0
        ? tokenizer.Encode(RandomText(random), addSpecialTokens: true)
        : [.. Enumerable.Range(0, random.Next(5)).Select(_ => random.Next(tokenizer.VocabSize))];

    private async Task<JsonNode> AskAsync(string script, object question)
    {
        var file = Path.Combine(folder, "question.json");
        await File.WriteAllTextAsync(file, JsonSerializer.Serialize(question));
        return JsonNode.Parse(await NodePeers.RunAsync(script, file))!;
    }
}
