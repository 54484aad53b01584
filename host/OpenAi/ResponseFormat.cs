using System.Text;
using System.Text.Json;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>What every object of one response repeats.</summary>
internal sealed record ResponseHead(string Id, long Created, string Model, string Fingerprint);

/// <summary>Token counts of one response, all prompts and choices together.</summary>
/// <param name="CachedTokens">Null if not known; it is left out then, as 0 would be read as a cache miss.</param>
internal readonly record struct UsageCounts(int PromptTokens, int CompletionTokens, int? CachedTokens);

/// <summary>All of a choice that is not streamed.</summary>
internal sealed class ChoiceText
{
    public StringBuilder Text { get; } = new();

    public List<TokenEntry> Tokens { get; } = [];

    public string? FinishReason { get; set; }

    public void Add(in Piece piece)
    {
        Text.Append(piece.Text);
        Tokens.AddRange(piece.Tokens);
        FinishReason = piece.FinishReason;
    }
}

/// <summary>Writes the JSON of one endpoint's responses. One instance a response.</summary>
internal abstract class ResponseFormat(ResponseHead head, ITokenizer tokenizer, bool withLogprobs, bool withUsageField)
{
    /// <summary>JSON has no infinity; a token that cannot occur is shown with this log-probability.</summary>
    private const float LowestLogprob = -9999;

    protected ITokenizer Tokenizer { get; } = tokenizer;

    protected bool WithLogprobs { get; } = withLogprobs;

    protected abstract string ObjectName { get; }

    protected abstract string StreamObjectName { get; }

    /// <summary>The events of one piece.</summary>
    public abstract void WritePiece(SseWriter sse, in Piece piece);

    public void WriteUsageEvent(SseWriter sse, UsageCounts usage)
    {
        var json = sse.BeginEvent();
        WriteHead(json, StreamObjectName);
        json.WriteStartArray("choices"u8);
        json.WriteEndArray();
        WriteUsage(json, usage);
        json.WriteEndObject();
        sse.EndEvent();
    }

    public void WriteResponse(Utf8JsonWriter json, IReadOnlyList<ChoiceText> choices, UsageCounts usage)
    {
        WriteHead(json, ObjectName);
        json.WriteStartArray("choices"u8);
        for (var i = 0; i < choices.Count; i++)
        {
            json.WriteStartObject();
            json.WriteNumber("index"u8, i);
            WriteChoice(json, i, choices[i]);
            json.WriteString("finish_reason"u8, choices[i].FinishReason);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        WriteUsage(json, usage);
        json.WriteEndObject();
    }

    /// <summary>Text and log-probabilities of a choice, within its object.</summary>
    protected abstract void WriteChoice(Utf8JsonWriter json, int index, ChoiceText choice);

    /// <summary>Content of the logprobs object.</summary>
    protected abstract void WriteLogprobs(Utf8JsonWriter json, IReadOnlyList<TokenEntry> tokens);

    protected void BeginChoice(Utf8JsonWriter json, int index)
    {
        WriteHead(json, StreamObjectName);
        json.WriteStartArray("choices"u8);
        json.WriteStartObject();
        json.WriteNumber("index"u8, index);
    }

    protected void EndChoice(Utf8JsonWriter json, string? finishReason)
    {
        json.WriteString("finish_reason"u8, finishReason);
        json.WriteEndObject();
        json.WriteEndArray();
        if (withUsageField)
        {
            json.WriteNull("usage"u8);
        }

        json.WriteEndObject();
    }

    protected void WriteLogprobsField(Utf8JsonWriter json, IReadOnlyList<TokenEntry> tokens)
    {
        if (!WithLogprobs)
        {
            json.WriteNull("logprobs"u8);
            return;
        }

        json.WriteStartObject("logprobs"u8);
        WriteLogprobs(json, tokens);
        json.WriteEndObject();
    }

    protected static float Finite(float logprob) => Math.Max(logprob, LowestLogprob);

    private void WriteHead(Utf8JsonWriter json, string objectName)
    {
        json.WriteStartObject();
        json.WriteString("id"u8, head.Id);
        json.WriteString("object"u8, objectName);
        json.WriteNumber("created"u8, head.Created);
        json.WriteString("model"u8, head.Model);
        json.WriteString("system_fingerprint"u8, head.Fingerprint);
    }

    private static void WriteUsage(Utf8JsonWriter json, UsageCounts usage)
    {
        json.WriteStartObject("usage"u8);
        json.WriteNumber("prompt_tokens"u8, usage.PromptTokens);
        json.WriteNumber("completion_tokens"u8, usage.CompletionTokens);
        json.WriteNumber("total_tokens"u8, usage.PromptTokens + usage.CompletionTokens);
        if (usage.CachedTokens is { } cachedTokens)
        {
            json.WriteStartObject("prompt_tokens_details"u8);
            json.WriteNumber("cached_tokens"u8, cachedTokens);
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }
}
