using System.Text;
using System.Text.Json.Nodes;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>A wrong or damaged folder is refused with an error that says what is wrong; nothing else ever happens.</summary>
public sealed class DamagedFolderTests
{
    private const string Single = "llama-f32";
    private const string Sharded = "qwen2-bf16-sharded";

    /// <summary>What is done to config.json, and the words that the error must have.</summary>
    public static TheoryData<string, string?, string> WrongConfigs { get; } = new()
    {
        { "architectures", "[\"GPT2LMHeadModel\"]", "LlamaForCausalLM, MistralForCausalLM, MixtralForCausalLM, Phi3ForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Qwen3MoeForCausalLM, found GPT2LMHeadModel" },
        { "architectures", null, "found none" },
        { "hidden_size", null, "'hidden_size': expected an integer in 1..65536, found no such key" },
        { "hidden_size", "-5", "found -5" },
        { "hidden_size", "\"wide\"", "found \"wide\"" },
        { "hidden_size", "1e300", "found 1e300" },
        { "hidden_size", "256", "shape of tensor 'model.embed_tokens.weight': expected [512, 256], found [512, 128]" },
        { "num_hidden_layers", "4", "tensor 'model.layers.3.input_layernorm.weight': expected [128], found no such tensor" },
        { "num_hidden_layers", "2000000000", "found 2000000000" },
        { "num_attention_heads", "7", "'num_attention_heads': expected a multiple of num_key_value_heads (2), found 7" },
        { "head_dim", "20", "'head_dim': expected a multiple of 8, found 20" },
        { "vocab_size", "511", "expected [511, 128], found [512, 128]" },
        { "hidden_act", "\"gelu\"", "'hidden_act': expected silu or gelu_pytorch_tanh, found gelu" },
        { "rms_norm_eps", "0", "'rms_norm_eps': expected a number above 0, found 0" },
        { "rope_scaling", "{\"rope_type\": \"mrope\", \"factor\": 4}", "'rope_scaling.rope_type': expected default, linear, dynamic, yarn, llama3 or longrope, found mrope" },
        { "rope_scaling", "{\"type\": \"linear\"}", "'rope_scaling.factor': expected a number above 0, found no such key" },
        { "rope_scaling", "[1]", "'rope_scaling': expected an object, found [1]" },
        { "quantization_config", "{\"quant_method\": \"gptq\"}", "quantized" },
        { "attention_bias", "true", "tensor 'model.layers.0.self_attn.q_proj.bias': expected [128], found no such tensor" },
        { "eos_token_id", "512", "generation_config" },
        { "layer_types", "[\"full_attention\", \"mamba\", \"full_attention\"]", "'layer_types'" },
        { "max_position_embeddings", "null", "'max_position_embeddings'" },
    };

    [Theory]
    [MemberData(nameof(WrongConfigs))]
    public void A_wrong_config_is_refused_naming_the_key(string key, string? value, string words)
    {
        using var folder = ModelFolder.CopyOf(Single);
        string file = words == "generation_config" ? "generation_config.json" : "config.json";
        var config = JsonNode.Parse(File.ReadAllText(folder.File(file)))!.AsObject();
        config.Remove(key);
        if (value is not null)
        {
            config[key] = JsonNode.Parse(value);
        }

        File.WriteAllText(folder.File(file), config.ToJsonString());
        var error = Refused(folder);
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
        Assert.StartsWith(folder.Path, error.File, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dtype", "\"F77\"", "dtype of tensor 'model.norm.weight'", "F77")]
    [InlineData("dtype", "\"I32\"", "dtype of tensor 'model.norm.weight': expected F32, F16 or BF16", "I32")]
    [InlineData("shape", "[64, 2]", "shape of tensor 'model.norm.weight': expected [128]", "[64, 2]")]
    [InlineData("shape", "[127]", "data_offsets of tensor 'model.norm.weight': expected 508 bytes", "F32")]
    [InlineData("shape", "[9223372036854775807, 9223372036854775807]", "shape of tensor 'model.norm.weight'", "at most")]
    [InlineData("shape", "[-128]", "tensor 'model.norm.weight'", "-128")]
    [InlineData("data_offsets", "[0, 512]", "overlap", "tensor '")]
    [InlineData("data_offsets", "[-512, 0]", "tensor 'model.norm.weight'", "-512")]
    [InlineData("data_offsets", "[9223372036854775295, 9223372036854775807]", "truncated", "model.norm.weight")]
    [InlineData("data_offsets", "[512]", "two data_offsets", "[512]")]
    public void A_wrong_header_is_refused_naming_the_tensor(string key, string value, string words, string found)
    {
        using var folder = ModelFolder.CopyOf(Single);
        folder.EditHeader(header => header["model.norm.weight"]![key] = JsonNode.Parse(value));
        var error = Refused(folder);
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
        Assert.Contains(found, error.Message, StringComparison.Ordinal);
        Assert.Equal(folder.File("model.safetensors"), error.File);
    }

    [Theory]
    [InlineData("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", "two entries")]
    [InlineData("[1, 2]", "expected a JSON object")]
    [InlineData("{\"a\": 5}", "tensor 'a'")]
    [InlineData("{\"\\ud800\": 5}", "header")]
    [InlineData("{\"a\"", "header")]
    [InlineData("\u0001", "header")]
    public void A_header_that_is_no_tensor_table_is_refused(string header, string words)
    {
        using var folder = ModelFolder.CopyOf(Single);
        folder.WriteFile(Encoding.UTF8.GetBytes(header), new byte[64]);
        Assert.Contains(words, Refused(folder).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_files_are_named()
    {
        Assert.Contains("no such folder", Refused("/nowhere/at/all").Message, StringComparison.Ordinal);

        using (var folder = ModelFolder.CopyOf(Single))
        {
            File.Delete(folder.File("config.json"));
            Assert.Equal(folder.File("config.json"), Refused(folder).File);
        }

        using (var folder = ModelFolder.CopyOf(Single))
        {
            File.Delete(folder.File("model.safetensors"));
            Assert.Contains("model.safetensors or model.safetensors.index.json", Refused(folder).Message, StringComparison.Ordinal);
        }

        using (var folder = ModelFolder.CopyOf(Sharded))
        {
            File.Delete(folder.File("model-00002-of-00002.safetensors"));
            Assert.Equal(folder.File("model-00002-of-00002.safetensors"), Refused(folder).File);
        }
    }

    [Theory]
    [InlineData("\"../escape.safetensors\"", "the name of a file in the folder")]
    [InlineData("17", "the name of a file in the folder")]
    [InlineData("\"model-00001-of-00002.safetensors\"", "tensor 'model.norm.weight': expected [128], found no such tensor")]
    [InlineData(null, "tensor 'model.norm.weight': expected [128], found no such tensor")]
    public void A_wrong_index_is_refused_naming_the_tensor(string? value, string words)
    {
        using var folder = ModelFolder.CopyOf(Sharded);
        string path = folder.File("model.safetensors.index.json");
        var index = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        var map = index["weight_map"]!.AsObject();
        map.Remove("model.norm.weight");
        if (value is not null)
        {
            map["model.norm.weight"] = JsonNode.Parse(value);
        }

        File.WriteAllText(path, index.ToJsonString());
        var error = Refused(folder);
        Assert.Contains("model.norm.weight", error.Message, StringComparison.Ordinal);
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_cut_anywhere_is_refused()
    {
        using var folder = ModelFolder.CopyOf(Single);
        byte[] whole = File.ReadAllBytes(folder.File("model.safetensors"));
        var random = new Random(1);
        int[] lengths = [0, 1, 7, 8, 9, 100, whole.Length - 1, .. Enumerable.Range(0, 60).Select(_ => random.Next(whole.Length))];
        foreach (int length in lengths)
        {
            File.WriteAllBytes(folder.File("model.safetensors"), whole[..length]);
            Refused(folder);
        }

        byte[] config = File.ReadAllBytes(folder.File("config.json"));
        for (int length = 0; length < config.Length - 1; length += 13)
        {
            File.WriteAllBytes(folder.File("config.json"), config[..length]);
            Assert.Equal(folder.File("config.json"), Refused(folder).File);
        }
    }

    [Fact]
    public void A_header_or_config_with_random_bytes_changed_loads_or_is_refused()
    {
        using var folder = ModelFolder.CopyOf(Single);
        byte[] whole = File.ReadAllBytes(folder.File("model.safetensors"));
        byte[] config = File.ReadAllBytes(folder.File("config.json"));
        int headerEnd = 8 + (int)BitConverter.ToUInt64(whole);
        var random = new Random(2);
        int refused = 0;
        for (int trial = 0; trial < 150; trial++)
        {
            var (bytes, name, end) = trial % 2 == 0 ? (whole, "model.safetensors", headerEnd) : (config, "config.json", config.Length);
            byte[] damaged = [.. bytes];
            for (int change = random.Next(1, 4); change > 0; change--)
            {
                damaged[random.Next(end)] = (byte)random.Next(256);
            }

            File.WriteAllBytes(folder.File(name), damaged);
            try
            {
                CpuModelRunner.Load(folder.Path, new CpuRunnerOptions { Threads = 1, MaxBatchTokens = 1 }).Dispose();
            }
            catch (ModelLoadException)
            {
                refused++;
            }

            File.WriteAllBytes(folder.File(name), bytes);
        }

        Assert.True(refused > 75, $"{refused} of 150 refused");
    }

    private static ModelLoadException Refused(ModelFolder folder) => Refused(folder.Path);

    private static ModelLoadException Refused(string path) =>
        Assert.Throws<ModelLoadException>(() => CpuModelRunner.Load(path, new CpuRunnerOptions { Threads = 1, MaxBatchTokens = 1 }));
}
