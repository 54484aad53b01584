using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Caching;
using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>Packed weights are kept in files that all processes map, and whatever becomes of those files, the results are the same.</summary>
public sealed class WeightCacheTests : IDisposable
{
    private const string Name = "qwen2-window-f16";
    private const long Unlimited = long.MaxValue;

    private readonly DirectoryInfo _parent = Directory.CreateTempSubdirectory("scriptedserve-test-");
    private readonly FakeTimeProvider _time = new(DateTimeOffset.FromUnixTimeSeconds(1_800_000_000));
    private readonly List<string> _log = [];

    private string Folder => Path.Combine(_parent.FullName, "new", "weights");

    private string[] Weights => Directory.Exists(Folder) ? Directory.GetFiles(Folder, "*.weights") : [];

    public void Dispose() => _parent.Delete(recursive: true);

    [Theory]
    [InlineData(Name, WeightFormat.Auto)]
    [InlineData(Name, WeightFormat.Int8)]
    [InlineData("qwen3moe-bf16", WeightFormat.Auto)]
    [InlineData("qwen3moe-bf16", WeightFormat.Int8)]
    [InlineData("gemma3-f32", WeightFormat.BFloat16)]
    public void The_second_load_maps_what_the_first_has_packed(string name, WeightFormat format)
    {
        var cache = Cache();
        float[] expected = Logits(Load(null, name, format));
        for (int load = 0; load < 3; load++)
        {
            using var runner = Load(cache, name, format);
            Assert.True(runner.WeightsShared);
            Assert.Equal(expected, Logits(runner, dispose: false));
        }

        Assert.Equal(1, cache.Packed);
        Assert.Empty(_log);
        string file = Assert.Single(Weights);
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Folder));
        }
    }

    [Fact]
    public void Formats_and_changed_folders_have_files_of_their_own()
    {
        var cache = Cache();
        using var folder = ModelFolder.CopyOf(Name);
        foreach (var format in Enum.GetValues<WeightFormat>().Where(static format => format != WeightFormat.Float8))
        {
            Load(cache, folder.Path, format).Dispose();
        }

        // F16 as it is and as f32 are packed alike.
        Assert.Equal(3, cache.Packed);

        // Same bytes, changed at another time: what was changed need not be among what the identity samples of large files.
        File.SetLastWriteTimeUtc(folder.File("model.safetensors"), _time.GetUtcNow().UtcDateTime);
        Load(cache, folder.Path).Dispose();
        Assert.Equal(4, cache.Packed);

        folder.EditConfig(config => config["rope_theta"] = 20000.0);
        Load(cache, folder.Path).Dispose();
        Assert.Equal((5, 5), (cache.Packed, Weights.Length));
    }

    [Fact]
    public void Loads_that_begin_together_pack_once()
    {
        var caches = Enumerable.Range(0, 4).Select(_ => Cache()).ToArray();
        float[] expected = Logits(Load(null));
        Parallel.ForEach(caches, new ParallelOptions { MaxDegreeOfParallelism = 4 }, cache => Assert.Equal(expected, Logits(Load(cache))));
        Assert.Equal(1, caches.Sum(cache => cache.Packed));
        Assert.Single(Weights);
    }

    [Theory]
    [InlineData("cut")]
    [InlineData("longer")]
    [InlineData("empty")]
    [InlineData("magic")]
    [InlineData("version")]
    [InlineData("key")]
    [InlineData("length")]
    [InlineData("weight")]
    [InlineData("zeros")]
    [InlineData("another")]
    [InlineData("writable")]
    public void A_file_that_is_not_whole_is_made_anew(string damage)
    {
        float[] expected = Logits(Load(Cache()));
        string file = Assert.Single(Weights);
        byte[] bytes = File.ReadAllBytes(file);
        void Flip(int offset) => bytes[offset] ^= 1;
        switch (damage)
        {
            case "cut":
                bytes = bytes[..^100];
                break;
            case "longer":
                bytes = [.. bytes, 0];
                break;
            case "empty":
                bytes = [];
                break;
            case "magic":
                Flip(0);
                break;
            case "version":
                Flip(8);
                break;
            case "key":
                Flip(20);
                break;
            case "length":
                Flip(50);
                break;
            case "weight":
                Flip(4096 + bytes.Length / 2);
                break;
            case "zeros":
                Array.Clear(bytes);
                break;
            case "another":
                using (var folder = ModelFolder.CopyOf(Name))
                {
                    folder.EditTensor("model.embed_tokens.weight", data => data[0] ^= 1);
                    Load(Cache(), folder.Path).Dispose();
                }

                bytes = File.ReadAllBytes(Assert.Single(Weights, other => other != file));
                break;
            default:
                if (OperatingSystem.IsWindows())
                {
                    return;
                }

                File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.OtherWrite);
                break;
        }

        File.WriteAllBytes(file, bytes);
        var cache = Cache();
        Assert.Equal(expected, Logits(Load(cache)));
        Assert.Equal(1, cache.Packed);
        Assert.StartsWith($"{file} is made anew: {(damage == "writable" ? "other users may write it" : "it")}", Assert.Single(_log), StringComparison.Ordinal);
        Assert.Equal(expected, Logits(Load(cache)));
        Assert.Equal(1, cache.Packed);
    }

    [Fact]
    public void What_a_killed_process_left_behind_is_removed()
    {
        Load(Cache()).Dispose();
        string file = Assert.Single(Weights), left = file + ".0123.tmp", others = Path.Combine(Folder, "other.weights.4567.tmp");
        File.Move(file, left);
        File.WriteAllText(others, "someone may be writing it yet");
        File.SetLastWriteTimeUtc(others, _time.GetUtcNow().UtcDateTime);
        var cache = Cache();
        Assert.Equal(Logits(Load(null)), Logits(Load(cache)));
        Assert.Equal((1, false, true), (cache.Packed, File.Exists(left), File.Exists(others)));

        _time.Advance(TimeSpan.FromHours(25));
        Load(cache, Name, WeightFormat.Int8).Dispose();
        Assert.False(File.Exists(others));
        Assert.Empty(_log);
    }

    [Fact]
    public void Where_nothing_can_be_kept_weights_are_packed_into_memory_and_the_log_says_why()
    {
        float[] expected = Logits(Load(null));
        string file = Path.Combine(_parent.FullName, "file");
        File.WriteAllText(file, "no folder");
        foreach (var (folder, limit, words) in new[] { (Path.Combine(file, "weights"), Unlimited, "weights"), (Folder, 1000, "more than --weight-cache-limit 1000") })
        {
            _log.Clear();
            using var runner = Load(new WeightCache(folder, limit, _time, _log.Add));
            Assert.False(runner.WeightsShared);
            Assert.Equal(expected, Logits(runner, dispose: false));
            string line = Assert.Single(_log);
            Assert.StartsWith($"weights are not shared with other engines (--weight-cache {folder}): ", line, StringComparison.Ordinal);
            Assert.Contains(words, line, StringComparison.Ordinal);
        }

        Assert.Empty(Weights);
    }

    [Fact]
    public unsafe void A_disk_that_fills_up_leaves_nothing_behind()
    {
        var memory = Cache().Open(new byte[32], 1 << 20, 1, target =>
        {
            _ = target.Begin(0, 1000, 0);
            target.End(0, 1000, 0);
            throw new IOException("No space left on device");
        });
        Assert.Null(memory);
        Assert.EndsWith("No space left on device", Assert.Single(_log), StringComparison.Ordinal);
        Assert.DoesNotContain(Directory.GetFiles(Folder), file => !file.EndsWith(".lock", StringComparison.Ordinal));
    }

    [Fact]
    public void A_read_only_folder_serves_what_it_has()
    {
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        Load(Cache()).Dispose();
        File.SetUnixFileMode(Assert.Single(Weights), UnixFileMode.UserRead);
        File.SetUnixFileMode(Folder, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        try
        {
            using var runner = Load(Cache());
            Assert.True(runner.WeightsShared);
            Assert.Empty(_log);
        }
        finally
        {
            File.SetUnixFileMode(Folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    [Fact]
    public void Weights_that_are_not_finite_are_refused_and_not_kept()
    {
        using var folder = ModelFolder.CopyOf(Name);
        folder.EditTensor("model.layers.1.mlp.down_proj.weight", data => (data[6], data[7]) = (0x00, 0x7e));
        for (int load = 0; load < 2; load++)
        {
            var error = Assert.Throws<ModelLoadException>(() => Load(Cache(), folder.Path));
            Assert.Contains("NaN at element [0, 3]", error.Message, StringComparison.Ordinal);
        }

        Assert.DoesNotContain(Directory.GetFiles(Folder), file => !file.EndsWith(".lock", StringComparison.Ordinal));
    }

    [Fact]
    public void What_was_not_used_for_long_makes_room()
    {
        string[] names = ["llama-f32", "qwen3-f32", "gemma3-f32"];
        string Made(string name, WeightCache cache)
        {
            var before = Weights;
            Load(cache, name).Dispose();
            return Assert.Single(Weights.Except(before));
        }

        var roomy = Cache();
        string[] files = [.. names.Select(name =>
        {
            _time.Advance(TimeSpan.FromHours(1));
            return Made(name, roomy);
        })];

        // The first is used again; so the second goes when room for two and a bit is left to three.
        _time.Advance(TimeSpan.FromHours(1));
        Load(roomy, names[0]).Dispose();
        _time.Advance(TimeSpan.FromHours(1));
        long sizes = files.Sum(file => new FileInfo(file).Length);
        using var mapped = Load(roomy, names[1]);
        Load(roomy, names[0]).Dispose();
        _time.Advance(TimeSpan.FromHours(1));
        Load(roomy, names[0]).Dispose();
        string last = Made("mistral-f32", new WeightCache(Folder, sizes + 1000, _time, _log.Add));
        Assert.Contains(files[0], Weights);
        Assert.DoesNotContain(files[2], Weights);

        _time.Advance(WeightCache.Kept + TimeSpan.FromHours(2));
        string newest = Made("llama31-bf16", roomy);
        Assert.Equal([newest], Weights);

        // Whoever has a removed file mapped goes on with it.
        Assert.NotEqual(last, newest);
        Assert.Equal(Logits(Load(null, names[1])), Logits(mapped, dispose: false));
        Assert.Empty(_log);
    }

    private WeightCache Cache() => new(Folder, Unlimited, _time, line =>
    {
        lock (_log)
        {
            _log.Add(line);
        }
    });

    private static CpuModelRunner Load(WeightCache? cache, string name = Name, WeightFormat format = WeightFormat.Auto) => CpuModelRunner.Load(
        Path.IsPathRooted(name) ? name : GoldenModels.Folder(name),
        new CpuRunnerOptions { Threads = 2, MaxBatchTokens = 16, Weights = format, WeightCache = cache });

    private static float[] Logits(CpuModelRunner runner, bool dispose = true)
    {
        using var pool = new TestKvPool(runner.Layout, 1);
        var logits = new float[runner.Model.VocabSize];
        runner.Forward([new StepSlice(new[] { 1, 2, 3, 4, 5, 6, 7 }, 0, new[] { 0 }, true)], pool, logits, null);
        if (dispose)
        {
            runner.Dispose();
        }

        return logits;
    }
}
