using System.Text.Json;
using ScriptedServe.Contracts;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Host.Text;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Models;

/// <summary>A model's folder cannot be served from. The message names the file and what is wrong with it.</summary>
public sealed class ModelFolderException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>What the host needs of a model, a Hugging Face folder mostly: its tokenizer, its chat template, its limits. Weights are the engines' business.</summary>
/// <param name="Template">Null if the model has none; chat is refused then.</param>
internal sealed record ModelFolder(ModelFacts Facts, ITokenizer Tokenizer, IChatTemplate? Template)
{
    /// <param name="folder">Or the synthetic model's name, which holds no files.</param>
    /// <exception cref="ModelFolderException">A file is missing or damaged, or the tokenizer does not fit the model.</exception>
    public static ModelFolder Load(string folder, TimeProvider time)
    {
        if (SyntheticModel.IsNamedBy(folder))
        {
            return SyntheticText.Of(SyntheticModel.Parse(folder), time);
        }

        try
        {
            using var config = Read(Path.Combine(folder, "config.json")) ?? throw new ModelFolderException($"There is no config.json in {folder}: a Hugging Face model folder is expected.");
            var limits = ModelLimits.Read(config.RootElement, Path.Combine(folder, "config.json"));
            var facts = new ModelFacts(
                Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))),
                limits.ContextLength,
                limits.VocabSize,
                DefaultSampling(Path.Combine(folder, "generation_config.json")));
            var tokenizer = HuggingFaceTokenizer.Load(folder, facts.VocabSize);
            if (tokenizer.VocabSize > facts.VocabSize)
            {
                throw new ModelFolderException($"{folder}: tokenizer.json has token ids up to {tokenizer.VocabSize - 1}, but the model's vocab_size is {facts.VocabSize}.");
            }

            return new ModelFolder(facts, tokenizer, ChatTemplate.Load(folder, time));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or TokenizerException or ChatTemplateException)
        {
            throw new ModelFolderException($"The model in {folder} cannot be served: {e.Message}", e);
        }
    }

    /// <summary>What a request's parameters default to, where the model's makers say so.</summary>
    private static Sampling DefaultSampling(string path)
    {
        using var config = Read(path);
        var sampling = new Sampling();
        return config is null ? sampling : sampling with
        {
            Temperature = Number("temperature") ?? sampling.Temperature,
            TopP = Number("top_p") ?? sampling.TopP,
            TopK = (int?)Number("top_k") ?? sampling.TopK,
            MinP = Number("min_p") ?? sampling.MinP,
            RepetitionPenalty = Number("repetition_penalty") ?? sampling.RepetitionPenalty,
        };

        float? Number(string name) => config.RootElement.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetSingle() : null;
    }

    private static JsonDocument? Read(string path) => File.Exists(path) ? JsonDocument.Parse(File.ReadAllBytes(path)) : null;
}
