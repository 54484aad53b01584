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
        { "head_dim", "21", "'head_dim': expected an even number, found 21" },
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
        { "max_position_embeddings", "99999999999", "found 99999999999" },
        { "num_attention_heads", "0", "'num_attention_heads': expected an integer in 1..1024, found 0" },
        { "num_key_value_heads", "0", "'num_key_value_heads'" },
        { "num_key_value_heads", "3", "'num_attention_heads': expected a multiple of num_key_value_heads (3), found 8" },
        { "intermediate_size", "2147483647", "found 2147483647" },
        { "vocab_size", "4000000000", "found 4000000000" },
        { "hidden_size", "128.5", "found 128.5" },
        { "rms_norm_eps", "1e300", "'rms_norm_eps': expected a number above 0 that f32 can hold" },
        { "rope_theta", "1", "'rope_theta': expected a number above 1, found 1" },
        { "rope_theta", "\"NaN\"", "'rope_theta'" },
        { "rope_parameters", "{\"rope_type\": \"mrope\"}", "'rope_parameters.rope_type'" },
        { "rope_parameters", "{\"full_attention\": {}}", "'rope_parameters': expected one object for all layers" },
        { "rope_scaling", "{\"rope_type\": \"longrope\", \"short_factor\": [1, 2], \"long_factor\": []}", "'rope_scaling.short_factor': expected 8 numbers above 0, found 2 values" },
        { "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 64}", "'rope_scaling.high_freq_factor': expected above low_freq_factor (4), found 4" },
        { "partial_rotary_factor", "1.5", "'partial_rotary_factor'" },
        { "partial_rotary_factor", "0.01", "'partial_rotary_factor'" },
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

    /// <summary>What is done to the config of a family with parts of its own, and the words that the error must have.</summary>
    public static TheoryData<string, string, string, string> WrongFamilyConfigs { get; } = new()
    {
        { "mixtral-f32", "num_experts_per_tok", "5", "'num_experts_per_tok': expected at most the number of experts (4), found 5" },
        { "mixtral-f32", "num_local_experts", "5", "shape of tensor 'model.layers.0.block_sparse_moe.gate.weight': expected [5, 48], found [4, 48]" },
        { "mixtral-f32", "num_local_experts", "1000000", "found 1000000" },
        { "qwen3moe-f32", "mlp_only_layers", "[-1]", "'mlp_only_layers': expected a list of integers of at least 0" },
        { "qwen3moe-f32", "mlp_only_layers", "[]", "tensor 'model.layers.1.mlp.gate.weight'" },
        { "qwen3moe-f32", "decoder_sparse_step", "0", "'decoder_sparse_step'" },
        { "gemma2-f32", "attn_logit_softcapping", "1e300", "'attn_logit_softcapping': expected a number above 0 that f32 can hold" },
        { "gemma2-f32", "query_pre_attn_scalar", "-1", "'query_pre_attn_scalar'" },
        { "gemma2-f32", "hidden_activation", "\"relu\"", "'hidden_activation': expected silu or gelu_pytorch_tanh, found relu" },
        { "gemma3-f32", "sliding_window", "0", "'sliding_window': expected an integer in 1..2147483647, found 0" },
        { "gemma3-f32", "use_bidirectional_attention", "true", "'use_bidirectional_attention'" },
        { "gemma3-nested-bf16", "text_config", "3", "'text_config': expected an object, found 3" },
        { "gemma3-nested-bf16", "text_config", "{\"hidden_size\": -1}", "'text_config.hidden_size'" },
        { "phi3-longrope-f32", "original_max_position_embeddings", "1", "'original_max_position_embeddings': expected an integer in 2.." },
        { "phi3-longrope-f32", "rope_scaling", "{\"type\": \"longrope\", \"short_factor\": [1, 1, 1, 1, 1, 0], \"long_factor\": [1, 1, 1, 1, 1, 1]}", "'rope_scaling.short_factor': expected 6 numbers above 0, found 0" },
        { "qwen3-f32", "head_dim", "16", "shape of tensor 'model.layers.0.self_attn.q_proj.weight': expected [48, 48], found [60, 48]" },
    };

    [Theory]
    [MemberData(nameof(WrongFamilyConfigs))]
    public void A_familys_own_keys_are_checked_as_well(string model, string key, string value, string words)
    {
        using var folder = ModelFolder.CopyOf(model);
        folder.EditConfig(config => config[key] = JsonNode.Parse(value));
        Assert.Contains(words, Refused(folder).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("llama-f32", "model.embed_tokens.weight", 0x7FC0_0000u, 4)]
    [InlineData("llama-f32", "model.layers.1.mlp.down_proj.weight", 0xFF80_0000u, 4)]
    [InlineData("llama-f32", "model.norm.weight", 0x7F80_0000u, 4)]
    [InlineData("qwen2-window-f16", "model.layers.2.self_attn.k_proj.bias", 0x7C00u, 2)]
    [InlineData("gemma3-nested-bf16", "language_model.model.layers.0.self_attn.q_norm.weight", 0x7FC0u, 2)]
    [InlineData("qwen3moe-bf16", "model.layers.1.mlp.experts.8.up_proj.weight", 0xFF80u, 2)]
    public void Weights_that_are_no_numbers_are_refused_naming_the_tensor_and_where(string model, string tensor, uint bits, int bytes)
    {
        using var folder = ModelFolder.CopyOf(model);
        folder.EditTensor(tensor, data => BitConverter.GetBytes(bits).AsSpan(0, bytes).CopyTo(data[^bytes..]));
        var error = Refused(folder);
        Assert.Contains($"tensor '{tensor}': expected finite numbers, found ", error.Message, StringComparison.Ordinal);
        Assert.Contains(" at element ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Tensors_that_are_not_read_may_hold_anything()
    {
        using var folder = ModelFolder.CopyOf("gemma3-nested-bf16");
        folder.EditTensor("vision_tower.vision_model.post_layernorm.weight", data => data.Fill(0xFF));
        Load(folder.Path).Dispose();
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("generation_config.json")]
    [InlineData("model.safetensors")]
    public void A_file_that_is_a_device_or_empty_is_refused_and_not_read(string name)
    {
        foreach (bool empty in new[] { true, false })
        {
            using var folder = ModelFolder.CopyOf(Single);
            File.Delete(folder.File(name));
            if (empty)
            {
                File.WriteAllBytes(folder.File(name), []);
            }
            else
            {
                File.CreateSymbolicLink(folder.File(name), "/dev/zero");
            }

            var error = Refused(folder);
            Assert.Equal(folder.File(name), error.File);
            Assert.Contains("0 bytes", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Links_that_lead_nowhere_are_refused()
    {
        foreach (string target in new[] { "/nowhere/at/all", "config.json", "/tmp" })
        {
            using var folder = ModelFolder.CopyOf(Single);
            File.Delete(folder.File("config.json"));
            File.CreateSymbolicLink(folder.File("config.json"), target);
            Assert.Equal(folder.File("config.json"), Refused(folder).File);
        }
    }

    /// <summary>As the cache of downloaded models has them.</summary>
    [Fact]
    public void Files_may_be_links_to_files_elsewhere()
    {
        using var folder = new ModelFolder();
        foreach (string file in Directory.GetFiles(GoldenModels.Folder(Sharded)))
        {
            File.CreateSymbolicLink(folder.File(Path.GetFileName(file)), file);
        }

        Load(folder.Path).Dispose();
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
    [InlineData("\"/etc/passwd\"", "the name of a file in the folder")]
    [InlineData("\"shards/model-00001-of-00002.safetensors\"", "the name of a file in the folder")]
    [InlineData("\"..\"", "the name of a file in the folder")]
    [InlineData("\"\"", "the name of a file in the folder")]
    [InlineData("null", "the name of a file in the folder")]
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

    private static ModelLoadException Refused(ModelFolder folder) => Refused(folder.Path);

    private static ModelLoadException Refused(string path) => Assert.Throws<ModelLoadException>(() => Load(path));

    private static CpuModelRunner Load(string path) => CpuModelRunner.Load(path, new CpuRunnerOptions { Threads = 1, MaxBatchTokens = 1 });
}
