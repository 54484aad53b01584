using System.Text.Json;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Responses of <c>/v1/completions</c>.</summary>
/// <param name="echoes">For each choice the text before its completion; may be empty.</param>
internal sealed class CompletionFormat(ResponseHead head, ITokenizer tokenizer, bool withLogprobs, bool withUsageField, IReadOnlyList<string> echoes)
    : ResponseFormat(head, tokenizer, withLogprobs, withUsageField)
{
    private readonly bool[] _hasBegun = new bool[echoes.Count];

    protected override string ObjectName => "text_completion";

    protected override string StreamObjectName => "text_completion";

    public override void WritePiece(SseWriter sse, in Piece piece)
    {
        var json = BeginChoiceEvent(sse, piece.Choice);
        json.WriteString("text"u8, _hasBegun[piece.Choice] ? piece.Text : echoes[piece.Choice] + piece.Text);
        _hasBegun[piece.Choice] = true;
        WriteLogprobsField(json, piece.Tokens);
        EndChoiceEvent(sse, json, piece.FinishReason);
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
