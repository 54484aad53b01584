using System.Text.Json;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Responses of <c>/v1/chat/completions</c>.</summary>
internal sealed class ChatFormat(ResponseHead head, ITokenizer tokenizer, bool withLogprobs, bool withUsageField, int choices)
    : ResponseFormat(head, tokenizer, withLogprobs, withUsageField)
{
    private readonly bool[] _hasBegun = new bool[choices];

    protected override string ObjectName => "chat.completion";

    protected override string StreamObjectName => "chat.completion.chunk";

    public override void WritePiece(SseWriter sse, in Piece piece)
    {
        if (!_hasBegun[piece.Choice])
        {
            _hasBegun[piece.Choice] = true;
            var role = BeginDelta(sse, piece.Choice);
            role.WriteString("role"u8, "assistant"u8);
            role.WriteString("content"u8, ""u8);
            EndDelta(sse, role, null, null);
        }

        if (piece.Text.Length > 0 || piece.Tokens.Count > 0)
        {
            var content = BeginDelta(sse, piece.Choice);
            content.WriteString("content"u8, piece.Text);
            EndDelta(sse, content, piece.Tokens, null);
        }

        if (piece.FinishReason is not null)
        {
            EndDelta(sse, BeginDelta(sse, piece.Choice), null, piece.FinishReason);
        }
    }

    protected override void WriteChoice(Utf8JsonWriter json, int index, ChoiceText choice)
    {
        json.WriteStartObject("message"u8);
        json.WriteString("role"u8, "assistant"u8);
        json.WriteString("content"u8, choice.Text.ToString());
        json.WriteNull("refusal"u8);
        json.WriteEndObject();
        WriteLogprobsField(json, choice.Tokens);
    }

    protected override void WriteLogprobs(Utf8JsonWriter json, IReadOnlyList<TokenEntry> tokens)
    {
        json.WriteStartArray("content"u8);
        foreach (var entry in tokens)
        {
            json.WriteStartObject();
            WriteToken(json, entry.Token, entry.Logprob.Logprob);
            json.WriteStartArray("top_logprobs"u8);
            foreach (var (token, logprob) in entry.Logprob.Top)
            {
                json.WriteStartObject();
                WriteToken(json, token, logprob);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNull("refusal"u8);
    }

    private void WriteToken(Utf8JsonWriter json, int token, float logprob)
    {
        var (text, bytes) = Tokenizer.Describe(token);
        json.WriteString("token"u8, text);
        json.WriteNumber("logprob"u8, Finite(logprob));
        json.WriteStartArray("bytes"u8);
        foreach (var b in bytes)
        {
            json.WriteNumberValue(b);
        }

        json.WriteEndArray();
    }

    private Utf8JsonWriter BeginDelta(SseWriter sse, int index)
    {
        var json = BeginChoiceEvent(sse, index);
        json.WriteStartObject("delta"u8);
        return json;
    }

    private void EndDelta(SseWriter sse, Utf8JsonWriter json, IReadOnlyList<TokenEntry>? tokens, string? finishReason)
    {
        json.WriteEndObject();
        if (tokens is null)
        {
            json.WriteNull("logprobs"u8);
        }
        else
        {
            WriteLogprobsField(json, tokens);
        }

        EndChoiceEvent(sse, json, finishReason);
    }
}
