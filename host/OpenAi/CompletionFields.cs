using System.Text.Json;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Reads a body of <c>/v1/completions</c>.</summary>
internal sealed class CompletionFields(ModelFacts model, OpenAiOptions options, ITokenizer tokenizer)
{
    private const int DefaultMaxTokens = 16;
    private const string PromptForms = "a string, an array of token ids, or an array of either";

    public GenerationRequest Read(JsonElement body)
    {
        var fields = new JsonFields(body);
        GenerationFields.CheckModel(fields, model);
        var (stream, includeUsage) = GenerationFields.ReadStream(fields);
        var logprobs = fields.Integer("logprobs", 0, GenerationFields.MostLogprobs);
        var sampling = GenerationFields.ReadSampling(fields, model, logprobs, DefaultMaxTokens, "max_tokens");
        var stops = GenerationFields.ReadStops(fields);
        var seed = fields.Seed("seed");
        var echo = fields.Boolean("echo") ?? false;
        if (echo && logprobs is not null)
        {
            throw OpenAiException.Invalid("echo", "'echo' together with 'logprobs' is not supported: log-probabilities of the prompt are not computed.", "unsupported_parameter");
        }

        if (fields.String("suffix") is { Length: > 0 })
        {
            throw OpenAiException.Invalid("suffix", "'suffix' is not supported: the model does not fill in the middle.", "unsupported_parameter");
        }

        fields.String("user");
        var prompts = ReadPrompts(fields, echo);
        var choices = GenerationFields.ReadChoices(fields, options, prompts.Count);
        if (fields.Integer("best_of", 1) is { } bestOf && bestOf != choices)
        {
            throw OpenAiException.Invalid("best_of", $"'best_of' is {bestOf}; only the value of 'n' ({choices}) is supported.", "unsupported_parameter");
        }

        return new(prompts, sampling, seed, choices, stops, stream, includeUsage);
    }

    private List<Prompt> ReadPrompts(JsonFields fields, bool echo)
    {
        var prompt = fields.Any("prompt") ?? throw fields.Missing("prompt", PromptForms);
        if (prompt.ValueKind == JsonValueKind.String)
        {
            return [FromText(prompt, echo)];
        }

        if (prompt.ValueKind != JsonValueKind.Array)
        {
            throw fields.Wrong("prompt", PromptForms, prompt);
        }

        if (prompt.GetArrayLength() == 0)
        {
            throw Empty();
        }

        if (prompt[0].ValueKind == JsonValueKind.Number)
        {
            return [FromTokens(prompt, echo)];
        }

        if (prompt.GetArrayLength() > options.MaxGenerations)
        {
            throw OpenAiException.Invalid("prompt", $"'prompt' has {prompt.GetArrayLength()} prompts; the limit is {options.MaxGenerations} (OpenAiOptions.MaxGenerations).", "invalid_value");
        }

        return [.. prompt.EnumerateArray().Select(one => one.ValueKind switch
        {
            JsonValueKind.String => FromText(one, echo),
            JsonValueKind.Array => FromTokens(one, echo),
            _ => throw fields.Wrong("prompt", PromptForms, one),
        })];
    }

    private Prompt FromText(JsonElement value, bool echo)
    {
        var text = value.GetString()!;
        return text.Length == 0 ? throw Empty() : Check(tokenizer.Encode(text, addSpecialTokens: true), echo ? text : "");
    }

    private Prompt FromTokens(JsonElement value, bool echo)
    {
        int[] tokens = [.. value.EnumerateArray().Select(token => GenerationFields.ReadToken(token, model, "prompt"))];
        return Check(tokens, echo ? tokenizer.Decode(tokens) : "");
    }

    private Prompt Check(int[] tokens, string echo)
    {
        if (tokens.Length == 0)
        {
            throw Empty();
        }

        GenerationFields.CheckLength(tokens.Length, model, "prompt");
        return new(tokens, echo);
    }

    private static OpenAiException Empty() => OpenAiException.Invalid("prompt", "'prompt' is empty; it must have at least one token.", "empty_prompt");
}
