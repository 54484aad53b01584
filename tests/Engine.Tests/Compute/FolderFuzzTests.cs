using System.Text.Json.Nodes;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>
/// Good folders, changed at random: each still loads, or is refused with an error that names one of its files. Nothing else is thrown, and nothing large
/// is allocated for what a file merely claims.
/// </summary>
public sealed class FolderFuzzTests
{
    private const long MostBytes = 64 << 20;

    private static readonly string[] Values =
    [
        "null", "0", "-1", "1", "2", "7", "0.5", "1e300", "1e-300", "2147483647", "9223372036854775807", "123456789012345678901234567890", "true", "false", "\"\"", "\"silu\"",
        "\"\\ud800\"", "[]", "[1]", "[\"full_attention\"]", "{}", "{\"rope_type\": \"yarn\", \"factor\": 1e9}", "{\"rope_type\": \"longrope\"}", "[[[[[[[[]]]]]]]]",
    ];

    public static TheoryData<string> Models { get; } =
        ["qwen2-window-f16", "qwen3-bf16", "gemma3-nested-bf16", "phi3-longrope-f32", "qwen3moe-f32", "mixtral-bf16"];

    [Theory]
    [MemberData(nameof(Models))]
    public void Any_value_of_any_key_loads_or_is_refused(string model)
    {
        using var folder = ModelFolder.CopyOf(model);
        string path = folder.File("config.json");
        string good = File.ReadAllText(path);
        var outcomes = new Outcomes(folder);
        foreach (string[] key in KeysOf(JsonNode.Parse(good)!.AsObject()))
        {
            foreach (string value in Values)
            {
                var config = JsonNode.Parse(good)!.AsObject();
                var parent = key[..^1].Aggregate(config, (node, name) => node[name]!.AsObject());
                // A lone surrogate cannot be written by the library, so the text is put in by hand.
                parent[key[^1]] = "@@";
                File.WriteAllText(path, config.ToJsonString().Replace("\"@@\"", value, StringComparison.Ordinal));
                outcomes.Load($"{string.Join('.', key)} = {value}");
            }
        }

        Assert.True(outcomes is { Loaded: > 100, Refused: > 100 }, $"{outcomes.Loaded} loaded, {outcomes.Refused} refused");
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void Any_bytes_changed_anywhere_load_or_are_refused(string model)
    {
        using var folder = ModelFolder.CopyOf(model);
        var random = new Random(2);
        var outcomes = new Outcomes(folder);
        string[] files = Directory.GetFiles(folder.Path);
        for (int trial = 0; trial < 100; trial++)
        {
            string file = files[random.Next(files.Length)];
            byte[] good = File.ReadAllBytes(file);
            byte[] damaged = [.. good];
            // Most of a weights file is weights; what stands before them is of more interest.
            int end = file.EndsWith(".safetensors", StringComparison.Ordinal) && random.Next(4) > 0 ? 8 + (int)BitConverter.ToUInt64(good) : good.Length;
            for (int change = random.Next(1, 4); change > 0; change--)
            {
                damaged[random.Next(end)] = (byte)random.Next(256);
            }

            File.WriteAllBytes(file, random.Next(10) == 0 ? damaged[..random.Next(damaged.Length)] : damaged);
            outcomes.Load($"trial {trial}");
            File.WriteAllBytes(file, good);
        }

        Assert.True(outcomes is { Loaded: > 5, Refused: > 30 }, $"{outcomes.Loaded} loaded, {outcomes.Refused} refused");
    }

    /// <summary>The paths of all keys, those of nested objects too.</summary>
    private static IEnumerable<string[]> KeysOf(JsonObject config) => config.SelectMany(property => property.Value is JsonObject child && property.Key != "vision_config"
        ? KeysOf(child).Select(key => (string[])[property.Key, .. key]).Append([property.Key])
        : [[property.Key]]);

    private sealed class Outcomes(ModelFolder folder)
    {
        public int Loaded { get; private set; }

        public int Refused { get; private set; }

        public void Load(string what)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                CpuModelRunner.Load(folder.Path, new CpuRunnerOptions { Threads = 1, MaxBatchTokens = 1, MaxContextTokens = 4096 }).Dispose();
                Loaded++;
            }
            catch (ModelLoadException error)
            {
                Assert.StartsWith(folder.Path, error.File, StringComparison.Ordinal);
                Refused++;
            }
            catch (Exception error)
            {
                throw new InvalidOperationException($"{what}: {error.GetType().Name}: {error.Message}", error);
            }

            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.True(allocated < MostBytes, $"{what}: {allocated} bytes allocated");
        }
    }
}
