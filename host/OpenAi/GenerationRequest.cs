using System.Text.Json;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.OpenAi;

/// <summary>A prompt as token ids.</summary>
/// <param name="Echo">The text put before the completion (<c>echo</c>), or empty.</param>
internal sealed record Prompt(int[] Tokens, string Echo);

/// <summary>A checked request of either endpoint.</summary>
/// <param name="Sampling">Its seed is not set, and its MaxTokens and MinTokens may reach past the context's end: both depend on the prompt and choice.</param>
/// <param name="Seed">Null: each prompt gets a random one.</param>
/// <param name="Choices">How many completions of each prompt.</param>
internal sealed record GenerationRequest(
    IReadOnlyList<Prompt> Prompts,
    Sampling Sampling,
    ulong? Seed,
    int Choices,
    IReadOnlyList<string> Stops,
    bool Stream,
    bool IncludeUsage);

/// <summary>Reads the fields that both endpoints have.</summary>
internal static class GenerationFields
{
    private const int MostStops = 16;
    private const int LongestStop = 1024;
    private const int MostStopTokens = 256;
    private const float LargestRepetitionPenalty = 100;

    /// <summary>The largest count of log-probabilities a token.</summary>
    public const int MostLogprobs = 20;

    public static void CheckModel(JsonFields fields, ModelFacts model)
    {
        if (fields.String("model") is { } asked && asked != model.Id)
        {
            throw NoSuchModel(asked, model);
        }
    }

    public static OpenAiException NoSuchModel(string asked, ModelFacts model) =>
        new(404, $"The model '{asked}' does not exist here; '{model.Id}' does.", "model", "model_not_found");

    public static Sampling ReadSampling(JsonFields fields, ModelFacts model, int? logprobs, int defaultMaxTokens, string maxTokensField)
    {
        var defaults = model.DefaultSampling;
        var maxTokens = fields.Integer(maxTokensField, 1) ?? defaultMaxTokens;
        var minTokens = fields.Integer("min_tokens", 0) ?? 0;
        if (minTokens > maxTokens)
        {
            throw OpenAiException.Invalid("min_tokens", $"'min_tokens' is {minTokens} and must be at most the {maxTokens} tokens that may be generated.", "invalid_value");
        }

        return new()
        {
            Temperature = fields.Number("temperature", 0, 2) ?? defaults.Temperature,
            TopP = fields.PositiveNumber("top_p", 1) ?? defaults.TopP,
            // -1 is how some clients write "all".
            TopK = fields.Integer("top_k", -1) is { } topK ? Math.Max(topK, 0) : defaults.TopK,
            MinP = fields.Number("min_p", 0, 1) ?? defaults.MinP,
            PresencePenalty = fields.Number("presence_penalty", -2, 2) ?? defaults.PresencePenalty,
            FrequencyPenalty = fields.Number("frequency_penalty", -2, 2) ?? defaults.FrequencyPenalty,
            RepetitionPenalty = fields.PositiveNumber("repetition_penalty", LargestRepetitionPenalty) ?? defaults.RepetitionPenalty,
            LogitBias = ReadLogitBias(fields, model),
            Logprobs = logprobs,
            MaxTokens = maxTokens,
            MinTokens = minTokens,
            StopTokenIds = ReadStopTokens(fields, model),
            IgnoreEos = fields.Boolean("ignore_eos") ?? false,
        };
    }

    public static int ReadChoices(JsonFields fields, OpenAiOptions options, int prompts)
    {
        var choices = fields.Integer("n", 1, options.MaxChoices) ?? 1;
        return choices * prompts <= options.MaxGenerations
            ? choices
            : throw OpenAiException.Invalid("n", $"{prompts} prompts with 'n' {choices} are {prompts * choices} generations; the limit is {options.MaxGenerations} (OpenAiOptions.MaxGenerations).", "invalid_value");
    }

    public static (bool Stream, bool IncludeUsage) ReadStream(JsonFields fields)
    {
        var stream = fields.Boolean("stream") ?? false;
        if (fields.Object("stream_options") is not { } options)
        {
            return (stream, false);
        }

        return stream
            ? (true, new JsonFields(options, "stream_options.").Boolean("include_usage") ?? false)
            : throw OpenAiException.Invalid("stream_options", "'stream_options' may only be set when 'stream' is true.", "invalid_value");
    }

    public static IReadOnlyList<string> ReadStops(JsonFields fields)
    {
        if (fields.Any("stop") is not { } stop)
        {
            return [];
        }

        JsonElement[] given = stop.ValueKind == JsonValueKind.Array ? [.. stop.EnumerateArray()] : [stop];
        if (given.Length > MostStops)
        {
            throw OpenAiException.Invalid("stop", $"'stop' has {given.Length} strings; at most {MostStops} are allowed.", "invalid_value");
        }

        return [.. given.Select(one => one.ValueKind == JsonValueKind.String && one.GetString() is { Length: > 0 and <= LongestStop } text
            ? text
            : throw fields.Wrong("stop", $"a string of 1 to {LongestStop} characters or an array of at most {MostStops} of them", one))];
    }

    /// <summary>The prompt leaves room for a token at least.</summary>
    public static void CheckLength(int promptTokens, ModelFacts model, string param)
    {
        if (promptTokens >= model.ContextLength)
        {
            throw OpenAiException.Invalid(
                param,
                $"The prompt has {promptTokens} tokens; the model's context is {model.ContextLength} tokens, of which at least one must be left to generate.",
                "context_length_exceeded");
        }
    }

    public static int ReadToken(JsonElement value, ModelFacts model, string param) =>
        JsonFields.TryInteger(value, out var token) && token >= 0 && token < model.VocabSize
            ? (int)token
            : throw OpenAiException.Invalid(param, $"'{param}' must hold token ids between 0 and {model.VocabSize - 1}, got {JsonFields.Show(value)}.", "invalid_token_id");

    private static Dictionary<int, float> ReadLogitBias(JsonFields fields, ModelFacts model)
    {
        var biases = new Dictionary<int, float>();
        if (fields.Object("logit_bias") is not { } given)
        {
            return biases;
        }

        foreach (var property in given.EnumerateObject())
        {
            if (!int.TryParse(property.Name, out var token) || token < 0 || token >= model.VocabSize)
            {
                throw OpenAiException.Invalid("logit_bias", $"'logit_bias' must be keyed by token ids between 0 and {model.VocabSize - 1}, got \"{property.Name}\".", "invalid_token_id");
            }

            biases[token] = JsonFields.TryFloat(property.Value, out var bias) && bias is >= -100 and <= 100
                ? bias
                : throw OpenAiException.Invalid("logit_bias", $"'logit_bias' of token {token} must be a number between -100 and 100, got {JsonFields.Show(property.Value)}.", "invalid_value");
        }

        return biases;
    }

    private static IReadOnlyList<int> ReadStopTokens(JsonFields fields, ModelFacts model)
    {
        if (fields.Array("stop_token_ids") is not { } given)
        {
            return [];
        }

        return given.GetArrayLength() <= MostStopTokens
            ? [.. given.EnumerateArray().Select(token => ReadToken(token, model, "stop_token_ids"))]
            : throw OpenAiException.Invalid("stop_token_ids", $"'stop_token_ids' has {given.GetArrayLength()} ids; at most {MostStopTokens} are allowed.", "invalid_value");
    }
}
