using System.Text.Json;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Responses of <c>/v1/completions</c>.</summary>
/// <param name="echoes">For each choice the text before its completion; may be empty.</param>
internal sealed class CompletionFormat(ResponseHead head, ITokenizer tokenizer, bool withLogprobs, bool withUsageField, IReadOnlyList<string> echoes)
    : ResponseFormat(head, tokenizer, withLogprobs, withUsageField)
{
    private readonly bool[] _hasBegun = new bool[echoes.Count];
    private readonly EventTemplate?[] _plain = new EventTemplate?[echoes.Count];

    protected override string ObjectName => "text_completion";

    protected override string StreamObjectName => "text_completion";

    public override void WritePiece(SseWriter sse, in Piece piece)
    {
        var index = piece.Choice;
        if (_hasBegun[index] && !WithLogprobs && piece.FinishReason is null)
        {
            sse.Write(_plain[index] ??= NewTemplate(index), piece.Text);
            return;
        }

        WriteEvent(sse.BeginEvent(), index, _hasBegun[index] ? piece.Text : echoes[index] + piece.Text, piece.Tokens, piece.FinishReason);
        sse.EndEvent();
        _hasBegun[index] = true;
    }

    protected override void WriteChoice(Utf8JsonWriter json, int index, ChoiceText choice)
    {
        json.WriteString("text"u8, echoes[index] + choice.Text);
        WriteLogprobsField(json, choice.Tokens);
    }

    protected override void WriteLogprobs(Utf8JsonWriter json, IReadOnlyList<TokenEntry> tokens)
    {
        json.WriteStartArray("tokens"u8);
        foreach (var entry in tokens)
        {
            json.WriteStringValue(Tokenizer.Describe(entry.Token).Text);
        }

        json.WriteEndArray();
        json.WriteStartArray("token_logprobs"u8);
        foreach (var entry in tokens)
        {
            json.WriteNumberValue(Finite(entry.Logprob.Logprob));
        }

        json.WriteEndArray();
        json.WriteStartArray("top_logprobs"u8);
        foreach (var entry in tokens)
        {
            WriteTop(json, entry);
        }

        json.WriteEndArray();
        json.WriteStartArray("text_offset"u8);
        foreach (var entry in tokens)
        {
            json.WriteNumberValue(entry.TextOffset);
        }

        json.WriteEndArray();
    }

    private EventTemplate NewTemplate(int index) => EventTemplate.Of("text", json => WriteEvent(json, index, "", [], null));

    private void WriteEvent(Utf8JsonWriter json, int index, string text, IReadOnlyList<TokenEntry> tokens, string? finishReason)
    {
        BeginChoice(json, index);
        json.WriteString("text"u8, text);
        WriteLogprobsField(json, tokens);
        EndChoice(json, finishReason);
    }

    /// <summary>Keyed by text, so of tokens that look the same only the likeliest is shown; the chosen token always is.</summary>
    private void WriteTop(Utf8JsonWriter json, TokenEntry entry)
    {
        var written = new HashSet<string>();
        json.WriteStartObject();
        foreach (var (token, logprob) in entry.Logprob.Top.Append((entry.Token, entry.Logprob.Logprob)))
        {
            var text = Tokenizer.Describe(token).Text;
            if (written.Add(text))
            {
                json.WriteNumber(text, Finite(logprob));
            }
        }

        json.WriteEndObject();
    }
}
