using System.Text.Json;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Responses of <c>/v1/chat/completions</c>.</summary>
internal sealed class ChatFormat(ResponseHead head, ITokenizer tokenizer, bool withLogprobs, bool withUsageField, int choices)
    : ResponseFormat(head, tokenizer, withLogprobs, withUsageField)
{
    private readonly bool[] _hasBegun = new bool[choices];
    private readonly EventTemplate?[] _plain = new EventTemplate?[choices];

    protected override string ObjectName => "chat.completion";

    protected override string StreamObjectName => "chat.completion.chunk";

    public override void WritePiece(SseWriter sse, in Piece piece)
    {
        var index = piece.Choice;
        if (!_hasBegun[index])
        {
            _hasBegun[index] = true;
            WriteEvent(sse.BeginEvent(), index, "assistant", "", null, null);
            sse.EndEvent();
        }

        if (piece.Tokens.Count > 0)
        {
            WriteEvent(sse.BeginEvent(), index, null, piece.Text, piece.Tokens, null);
            sse.EndEvent();
        }
        else if (piece.Text.Length > 0)
        {
            sse.Write(_plain[index] ??= NewTemplate(index), piece.Text);
        }

        if (piece.FinishReason is not null)
        {
            WriteEvent(sse.BeginEvent(), index, null, null, null, piece.FinishReason);
            sse.EndEvent();
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

    private EventTemplate NewTemplate(int index) => EventTemplate.Of("content", json => WriteEvent(json, index, null, "", [], null));

    /// <param name="content">Null for none, as at the end.</param>
    /// <param name="tokens">Null where the event has no log-probabilities though others of the stream have.</param>
    private void WriteEvent(Utf8JsonWriter json, int index, string? role, string? content, IReadOnlyList<TokenEntry>? tokens, string? finishReason)
    {
        BeginChoice(json, index);
        json.WriteStartObject("delta"u8);
        if (role is not null)
        {
            json.WriteString("role"u8, role);
        }

        if (content is not null)
        {
            json.WriteString("content"u8, content);
        }

        json.WriteEndObject();
        if (tokens is null)
        {
            json.WriteNull("logprobs"u8);
        }
        else
        {
            WriteLogprobsField(json, tokens);
        }

        EndChoice(json, finishReason);
    }
}
