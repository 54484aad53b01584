using System.Text;
using System.Text.Json.Nodes;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.Tests.OpenAi;

/// <summary>A tokenizer of a few lines: token i stands for some bytes; an empty entry is a special token.</summary>
internal sealed class TableTokenizer(byte[][] tokens) : ITokenizer
{
    /// <summary>The special tokens of <see cref="Bytes"/>.</summary>
    public const int Begin = 256, End = 257;

    /// <summary>Each byte is a token; text begins with <see cref="Begin"/> where special tokens are asked for.</summary>
    public static TableTokenizer Bytes { get; } = new([.. Enumerable.Range(0, 258).Select(i => i < 256 ? new[] { (byte)i } : [])]);

    public int VocabSize => tokens.Length;

    public int[] Encode(string text, bool addSpecialTokens)
    {
        int[] bytes = [.. Encoding.UTF8.GetBytes(text).Select(b => (int)b)];
        return addSpecialTokens ? [Begin, .. bytes] : bytes;
    }

    public string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens = true)
    {
        var decoder = CreateDecoder(skipSpecialTokens);
        return decoder.Push(ids) + decoder.Flush();
    }

    public (string Text, byte[] Bytes) Describe(int token) =>
        token == End ? ("<end>", []) : (Encoding.UTF8.GetString(tokens[token]), tokens[token]);

    public IIncrementalDecoder CreateDecoder(bool skipSpecialTokens = true) => new TableDecoder(tokens);

    private sealed class TableDecoder(byte[][] tokens) : IIncrementalDecoder
    {
        private readonly Decoder _utf8 = Encoding.UTF8.GetDecoder();

        public string Push(ReadOnlySpan<int> ids)
        {
            var text = new StringBuilder();
            foreach (var id in ids)
            {
                text.Append(Convert(tokens[id], flush: false));
            }

            return text.ToString();
        }

        public string Flush() => Convert([], flush: true);

        private string Convert(byte[] bytes, bool flush)
        {
            var chars = new char[bytes.Length + 4];
            return new string(chars, 0, _utf8.GetChars(bytes, chars, flush));
        }
    }
}

/// <summary>Writes each message as <c>role: content</c>, tools first.</summary>
internal sealed class PlainTemplate : IChatTemplate
{
    public string Render(JsonArray messages, JsonArray? tools = null, bool addGenerationPrompt = true, JsonObject? extra = null)
    {
        if ((string?)messages[0]!["content"] == "refuse")
        {
            throw new ChatTemplateException("line 3: roles must alternate");
        }

        var text = new StringBuilder();
        text.Append(tools is null ? "" : $"tools: {tools.Count}\n").Append(extra is null ? "" : $"extra: {extra.ToJsonString()}\n");
        foreach (var message in messages)
        {
            text.Append($"{message!["role"]}: {message["content"]}\n");
        }

        return text.Append(addGenerationPrompt ? "assistant:" : "").ToString();
    }
}
