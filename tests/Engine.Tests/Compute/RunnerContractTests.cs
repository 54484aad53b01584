using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>What <see cref="IModelRunner"/> promises its callers besides right numbers.</summary>
public sealed class RunnerContractTests : IDisposable
{
    private const string Name = "llama-f32";

    private readonly CpuModelRunner _runner = Load();
    private readonly TestKvPool _pool;

    public RunnerContractTests() => _pool = new TestKvPool(_runner.Layout, 40);

    public void Dispose()
    {
        _pool.Dispose();
        _runner.Dispose();
    }

    [Fact]
    public void The_model_and_its_layout_are_described()
    {
        Assert.Equal(Name, _runner.Model.Id);
        Assert.Equal(512, _runner.Model.VocabSize);
        Assert.Equal(512, _runner.Model.ContextLength);
        Assert.Equal([501], _runner.Model.EndTokenIds);
        Assert.Equal((3, 2, 16, 16, KvDataType.Float32), (_runner.Layout.Layers, _runner.Layout.KvHeads, _runner.Layout.HeadDim, _runner.Layout.PageTokens, _runner.Layout.DataType));
        Assert.StartsWith(Name, _runner.Layout.ModelId, StringComparison.Ordinal);
    }

    [Fact]
    public void Other_weights_under_the_same_name_have_another_layout()
    {
        using var folder = ModelFolder.CopyOf(Name);
        using var same = Load(folder.Path);
        byte[] bytes = File.ReadAllBytes(folder.File("model.safetensors"));
        bytes[bytes.Length / 2] ^= 1;
        File.WriteAllBytes(folder.File("model.safetensors"), bytes);
        using var weights = Load(folder.Path);
        folder.EditConfig(config => config["rope_theta"] = 20000.0);
        using var config = Load(folder.Path);
        Assert.Equal(3, new[] { same, weights, config }.Select(runner => runner.Layout.Fingerprint).Distinct().Count());
        Assert.Equal(same.Layout.ModelId[^16..], _runner.Layout.ModelId[^16..]);
    }

    [Theory]
    [InlineData("llama-f32", WeightFormat.Float32, true)]
    [InlineData("llama-f32", WeightFormat.BFloat16, false)]
    [InlineData("llama-f32", WeightFormat.Int8, false)]
    [InlineData("qwen3-bf16", WeightFormat.Float32, true)]
    [InlineData("qwen3-bf16", WeightFormat.BFloat16, true)]
    [InlineData("qwen3-bf16", WeightFormat.Int8, false)]
    public void Weights_that_are_rounded_have_another_layout_and_others_give_the_same_bits(string name, WeightFormat weights, bool same)
    {
        var slice = new StepSlice(new[] { 1, 2, 3, 4, 5 }, 0, new[] { 0 }, true);
        var options = new CpuRunnerOptions { Threads = 2, MaxBatchTokens = 64 };
        using var stored = CpuModelRunner.Load(GoldenModels.Folder(name), options);
        using var kept = CpuModelRunner.Load(GoldenModels.Folder(name), options with { Weights = weights });
        var logits = new[] { stored, kept }.Select(runner =>
        {
            using var pool = new TestKvPool(runner.Layout, 1);
            var result = new float[runner.Model.VocabSize];
            runner.Forward([slice], pool, result, null);
            return result;
        }).ToArray();
        Assert.Equal(same, stored.Layout.Fingerprint.Equals(kept.Layout.Fingerprint));
        Assert.Equal(same, logits[0].SequenceEqual(logits[1]));
        if (!same)
        {
            // A pool filled by one is refused by the other.
            using var pool = new TestKvPool(stored.Layout, 1);
            Assert.Throws<ArgumentException>(() => kept.Forward([slice], pool, new float[kept.Model.VocabSize], null));
        }
    }

    [Fact]
    public void End_tokens_come_from_config_where_there_is_no_generation_config()
    {
        using var folder = ModelFolder.CopyOf(Name);
        File.Delete(folder.File("generation_config.json"));
        folder.EditConfig(config => config["eos_token_id"] = new System.Text.Json.Nodes.JsonArray(7, 9));
        using var runner = Load(folder.Path);
        Assert.Equal([7, 9], runner.Model.EndTokenIds);
    }

    [Fact]
    public void A_wrong_step_is_refused_by_name_and_writes_nothing()
    {
        var good = new StepSlice(new[] { 1, 2, 3 }, 0, new[] { 4 }, true);
        Refused("at least one slice", []);
        Refused("slice 1 has no tokens", [good, good with { Tokens = Array.Empty<int>() }]);
        Refused("token id 512; the vocabulary is 0..511", [good with { Tokens = new[] { 1, 512 } }]);
        Refused("token id -1", [good with { Tokens = new[] { -1 } }]);
        Refused("positions [-1, 2)", [good with { Position = -1 }]);
        Refused("positions [510, 513)", [good with { Position = 510, Pages = Enumerable.Range(0, 33).ToArray() }]);
        Refused("positions [2147483647, 2147483650)", [good with { Position = int.MaxValue }]);
        Refused("block table of 1 pages; 17 positions at 16 a page need 2", [good with { Position = 14 }]);
        Refused("page 40; the pool has pages 0..39", [good with { Pages = new[] { 40 } }]);
        Refused("page -1", [good with { Pages = new[] { -1 } }]);
        Refused("the step has 65 tokens; MaxBatchTokens is 64", [good with { Tokens = new int[65], Pages = Enumerable.Range(0, 5).ToArray() }]);
        Assert.Throws<ArgumentException>(() => _runner.Forward([good], _pool, new float[511], null));
        using var other = new TestKvPool(_runner.Layout with { ModelId = "another" }, 40);
        Assert.Throws<ArgumentException>(() => _runner.Forward([good], other, new float[512], null));
        Assert.All(_pool.Page(0, 4).ToArray(), value => Assert.Equal(0xFF, value));
    }

    [Fact]
    public void A_context_longer_than_is_to_be_served_is_cut()
    {
        using var runner = CpuModelRunner.Load(GoldenModels.Folder(Name), new CpuRunnerOptions { MaxContextTokens = 100 });
        Assert.Equal(100, runner.Model.ContextLength);
        Assert.Equal(_runner.Layout.Fingerprint, runner.Layout.Fingerprint);
    }

    [Fact]
    public void Options_out_of_range_are_all_named()
    {
        var error = Assert.Throws<ArgumentException>(() => CpuModelRunner.Load(
            GoldenModels.Folder(Name), new CpuRunnerOptions { Threads = 0, PageTokens = -1, MaxBatchTokens = 1 << 20 }));
        Assert.All(["Threads is 0", "PageTokens is -1", "MaxBatchTokens is 1048576"], words => Assert.Contains(words, error.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void The_observer_hears_of_each_layer_in_order_when_its_kv_is_written_and_no_later_layers_is()
    {
        var slices = new[] { new StepSlice(new int[20], 0, new[] { 5, 6 }, false), new StepSlice(new int[3], 0, new[] { 9 }, true) };
        var observer = new Recorder(layer =>
        {
            Assert.DoesNotContain(float.NaN, Written(layer));
            if (layer + 1 < _runner.Layout.Layers)
            {
                Assert.All(Written(layer + 1), value => Assert.True(float.IsNaN(value)));
            }
        });
        _runner.Forward(slices, _pool, new float[512], observer);
        Assert.Equal([0, 1, 2], observer.Layers);
        Assert.All(_pool.Page(0, 8).ToArray(), value => Assert.Equal(0xFF, value));
    }

    [Fact]
    public void An_observer_that_throws_ends_the_step_and_not_the_runner()
    {
        var slice = new StepSlice(new[] { 1, 2, 3 }, 0, new[] { 4 }, true);
        var expected = new float[512];
        _runner.Forward([slice], _pool, expected, null);
        Assert.Throws<TimeoutException>(() => _runner.Forward([slice], _pool, new float[512], new Recorder(_ => throw new TimeoutException())));
        var again = new float[512];
        _runner.Forward([slice], _pool, again, null);
        Assert.Equal(expected, again);
    }

    [Theory]
    [InlineData("llama-f32")]
    [InlineData("gemma3-nested-bf16")]
    [InlineData("phi3-longrope-f32")]
    [InlineData("qwen3moe-bf16")]
    public void A_decode_step_allocates_nothing(string name)
    {
        using var runner = CpuModelRunner.Load(GoldenModels.Folder(name), new CpuRunnerOptions { Threads = 2, MaxBatchTokens = 64 });
        using var pool = new TestKvPool(runner.Layout, 8);
        var slices = new[] { new StepSlice(new[] { 1 }, 0, new[] { 4 }, true), new StepSlice(new[] { 2 }, 0, new[] { 5 }, true) };
        var logits = new float[2 * runner.Model.VocabSize];
        for (int warm = 0; warm < 3; warm++)
        {
            runner.Forward(slices, pool, logits, null);
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int step = 0; step < 50; step++)
        {
            runner.Forward(slices, pool, logits, null);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void A_disposed_runner_refuses_steps()
    {
        _runner.Dispose();
        Assert.Throws<ObjectDisposedException>(() => _runner.Forward([new StepSlice(new[] { 1 }, 0, new[] { 0 }, false)], _pool, [], null));
    }

    private static CpuModelRunner Load(string? folder = null) =>
        CpuModelRunner.Load(folder ?? GoldenModels.Folder(Name), new CpuRunnerOptions { Threads = 2, MaxBatchTokens = 64 });

    private void Refused(string words, StepSlice[] slices)
    {
        var error = Assert.Throws<ArgumentException>(() => _runner.Forward(slices, _pool, new float[512 * slices.Count(slice => slice.WantsLogits)], null));
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
    }

    /// <summary>KV of a layer at the positions of the observer's test.</summary>
    private float[] Written(int layer)
    {
        var (first, second) = (new PagedSequence([], [5, 6]), new PagedSequence([], [9]));
        byte[] bytes =
        [
            .. Enumerable.Range(0, 20).SelectMany(position => first.Kv(_pool, layer, position)),
            .. Enumerable.Range(0, 3).SelectMany(position => second.Kv(_pool, layer, position)),
        ];
        return MemoryMarshal.Cast<byte, float>(bytes).ToArray();
    }

    private sealed class Recorder(Action<int> check) : ILayerObserver
    {
        public List<int> Layers { get; } = [];

        public void LayerDone(int layer)
        {
            Layers.Add(layer);
            check(layer);
        }
    }
}
