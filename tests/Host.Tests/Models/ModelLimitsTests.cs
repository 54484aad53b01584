using System.Text.Json;
using ScriptedServe.Host.Models;

namespace ScriptedServe.Host.Tests.Models;

public sealed class ModelLimitsTests
{
    [Theory]
    [InlineData("""{"max_position_embeddings": 8192, "vocab_size": 32000}""", 8192, 32000)]
    [InlineData("""{"max_position_embeddings": 8192, "vocab_size": 32000, "text_config": null}""", 8192, 32000)]
    [InlineData("""{"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 2560}}""", 131072, 262208)]
    [InlineData("""{"model_type": "gemma3", "text_config": {"max_position_embeddings": 512, "vocab_size": 300}}""", 512, 300)]
    [InlineData("""{"model_type": "phi3", "vocab_size": 32064}""", 4096, 32064)]
    [InlineData("""{"max_position_embeddings": 40960, "vocab_size": 5, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}""", 131072, 5)]
    [InlineData("""{"max_position_embeddings": 4096, "vocab_size": 5, "rope_scaling": {"type": "yarn", "factor": 2.0}}""", 8192, 5)]
    [InlineData("""{"max_position_embeddings": 4096, "vocab_size": 5, "rope_scaling": {"type": "linear", "factor": 2.0}}""", 4096, 5)]
    [InlineData("""{"max_position_embeddings": 4096, "vocab_size": 5, "rope_scaling": {"type": "yarn", "factor": 1e300}}""", 1 << 24, 5)]
    public void Limits_are_those_that_engines_read_from_the_same_file(string config, int context, int vocab) =>
        Assert.Equal(new ModelLimits(context, vocab), Read(config));

    [Theory]
    [InlineData("""{"vocab_size": 5}""", "max_position_embeddings")]
    [InlineData("""{"max_position_embeddings": 0, "vocab_size": 5}""", "max_position_embeddings")]
    [InlineData("""{"max_position_embeddings": 10, "vocab_size": "many"}""", "vocab_size")]
    [InlineData("[1]", "a JSON object is expected")]
    public void A_number_that_is_missing_or_none_is_named(string config, string words)
    {
        var error = Assert.Throws<ModelFolderException>(() => Read(config));
        Assert.StartsWith("/models/m/config.json: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
    }

    private static ModelLimits Read(string config)
    {
        using var document = JsonDocument.Parse(config);
        return ModelLimits.Read(document.RootElement, "/models/m/config.json");
    }
}
