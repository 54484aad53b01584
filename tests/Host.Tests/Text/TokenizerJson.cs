using System.Text.Json.Nodes;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>Small tokenizer.json files, made here so that each test shows the component it is about.</summary>
internal static class TokenizerJson
{
    public const string Llama3Pattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>The 256 byte names have the byte as their id; merges get the ids from 256 on.</summary>
    public static JsonObject ByteLevel(params string[] merges)
    {
        var vocabulary = new JsonObject();
        var next = 0x100;
        for (var value = 0; value < 256; value++)
        {
            var printable = value is (>= 0x21 and <= 0x7E) or (>= 0xA1 and <= 0xAC) or >= 0xAE;
            vocabulary[((char)(printable ? value : next++)).ToString()] = value;
        }

        return WithMerges(vocabulary, merges, new JsonObject
        {
            ["pre_tokenizer"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["use_regex"] = true },
            ["decoder"] = new JsonObject { ["type"] = "ByteLevel" },
        });
    }

    /// <summary>Llama 2's shape: ids 0..2 special, 3..258 bytes, then the characters and merges given.</summary>
    public static JsonObject SentencePiece(string characters, params string[] merges)
    {
        var vocabulary = new JsonObject { ["<unk>"] = 0, ["<s>"] = 1, ["</s>"] = 2 };
        for (var value = 0; value < 256; value++)
        {
            vocabulary[$"<0x{value:X2}>"] = value + 3;
        }

        foreach (var character in characters)
        {
            vocabulary[character.ToString()] = vocabulary.Count;
        }

        var json = WithMerges(vocabulary, merges, new JsonObject
        {
            ["normalizer"] = JsonNode.Parse("""{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}"""),
            ["decoder"] = JsonNode.Parse("""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}"""),
            ["added_tokens"] = new JsonArray(Added(0, "<unk>"), Added(1, "<s>"), Added(2, "</s>")),
        });
        json["model"]!["byte_fallback"] = true;
        json["model"]!["fuse_unk"] = true;
        json["model"]!["unk_token"] = "<unk>";
        return json;
    }

    public static JsonObject Added(
        int id, string content, bool special = true, bool lstrip = false, bool rstrip = false, bool singleWord = false, bool normalized = false) => new()
        {
            ["id"] = id,
            ["content"] = content,
            ["special"] = special,
            ["lstrip"] = lstrip,
            ["rstrip"] = rstrip,
            ["single_word"] = singleWord,
            ["normalized"] = normalized,
        };

    public static JsonObject With(this JsonObject json, string field, JsonNode? value)
    {
        json[field] = value;
        return json;
    }

    public static JsonObject With(this JsonObject json, string field, string value) => json.With(field, JsonNode.Parse(value));

    public static HuggingFaceTokenizer Load(this JsonObject json) =>
        HuggingFaceTokenizer.Parse(System.Text.Encoding.UTF8.GetBytes(json.ToJsonString()), "tokenizer.json");

    /// <summary>Each token as it is written in text, for tests that are about where text is cut.</summary>
    public static string[] Pieces(this ITokenizer tokenizer, string text) =>
        [.. tokenizer.Encode(text, addSpecialTokens: false).Select(id => tokenizer.Describe(id).Text)];

    private static JsonObject WithMerges(JsonObject vocabulary, string[] merges, JsonObject json)
    {
        foreach (var merge in merges)
        {
            vocabulary[merge.Replace(" ", "", StringComparison.Ordinal)] = vocabulary.Count;
        }

        json["model"] = new JsonObject
        {
            ["type"] = "BPE",
            ["vocab"] = vocabulary,
            ["merges"] = new JsonArray([.. merges.Select(merge => (JsonNode)merge)]),
        };
        return json;
    }
}
