using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Contracts;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Synthetic;
using ScriptedServe.Engine.Tests.Fakes;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute;

/// <summary>The model without weights keeps the contract that real ones keep, and its KV shows every fault of whoever moves it.</summary>
public sealed class SyntheticRunnerTests
{
    private const int PageTokens = 4;
    private const int Pages = 200;

    private static readonly SyntheticModel Small = new() { Vocab = 512, Layers = 2, KvHeads = 2, HeadDim = 4, Context = 2000 };

    [Fact]
    public void Logits_depend_on_the_tokens_before_alone_however_steps_cut_them_and_wherever_pages_lie()
    {
        var random = new Random(3);
        using var runner = New(Small);
        foreach (var length in new[] { 1, 4, 5, 63, 400 })
        {
            int[] tokens = [.. Enumerable.Range(0, length).Select(_ => random.Next(512))];
            var expected = Run(runner, tokens, [length], random);
            Assert.Equal(expected, Run(runner, tokens, [.. Enumerable.Repeat(1, length)], random));
            Assert.Equal(expected, Run(runner, tokens, [length / 3, length - (length / 3)], random));

            tokens[random.Next(length)] ^= 1;
            Assert.NotEqual(expected, Run(runner, tokens, [length], random));
        }
    }

    [Fact]
    public void KV_that_is_not_what_was_written_changes_the_tokens_within_a_few_turns_of_the_pages()
    {
        var random = new Random(4);
        using var runner = New(Small);
        int[] tokens = [.. Enumerable.Range(0, 120).Select(_ => random.Next(512))];
        for (var round = 0; round < 50; round++)
        {
            var (layer, position, plane) = (random.Next(2), random.Next(60), random.Next(4));
            using var whole = new Sequence(runner, random);
            using var damaged = new Sequence(runner, random);
            _ = whole.Step(runner, tokens.AsMemory(0, 60));
            _ = damaged.Step(runner, tokens.AsMemory(0, 60));
            damaged.Pool.Page(layer, damaged.Table[position / PageTokens])[((plane * PageTokens) + (position % PageTokens)) * runner.Layout.HeadBytes] ^= 0x10;
            var seen = Enumerable.Range(60, 4 * 60 / PageTokens)
                .Any(next => !whole.Step(runner, tokens.AsMemory(next, 1)).SequenceEqual(damaged.Step(runner, tokens.AsMemory(next, 1))));
            Assert.True(seen, $"layer {layer}, position {position}, plane {plane}");
        }
    }

    [Fact]
    public async Task A_step_takes_its_time_on_the_injected_clock_and_layers_finish_along_it()
    {
        var time = new FakeTimeProvider();
        using var pace = new StepPace(time);
        using var runner = new SyntheticModelRunner(Small with { StepUs = 40_000, TokenUs = 10_000 }, PageTokens, 512, pace.Spend);
        var layers = new LayersDone(time);
        var step = Task.Run(() =>
        {
            using var sequence = new Sequence(runner, new Random(1));
            sequence.Step(runner, new int[4], layers);
        });
        await PassUntilEnded(time, step);

        // 40 + 4 * 10 ms over two layers.
        Assert.Equal(TimeSpan.FromMilliseconds(80), runner.StepTime(4));
        Assert.Equal(2, layers.At.Count);
        Assert.True(layers.At[0] >= TimeSpan.FromMilliseconds(40) && layers.At[1] >= TimeSpan.FromMilliseconds(80), string.Join(", ", layers.At));
    }

    [Fact]
    public async Task Times_shorter_than_the_clocks_tick_are_owed_and_not_lost()
    {
        var time = new FakeTimeProvider();
        using var pace = new StepPace(time);
        var start = time.GetTimestamp();
        await PassUntilEnded(time, Task.Run(() =>
        {
            for (var i = 0; i < 30; i++)
            {
                pace.Spend(TimeSpan.FromMicroseconds(100));
            }
        }));
        Assert.True(time.GetElapsedTime(start) >= TimeSpan.FromMilliseconds(2));
    }

    [Fact]
    public void A_bad_step_is_refused()
    {
        using var runner = New(Small);
        using var sequence = new Sequence(runner, new Random(1));
        Assert.Contains("vocabulary is 0..511", Assert.Throws<ArgumentException>(() => sequence.Step(runner, new[] { 512 })).Message, StringComparison.Ordinal);
        Assert.Contains("--max-batch-tokens is 512", Assert.Throws<ArgumentException>(() => sequence.Step(runner, new int[513])).Message, StringComparison.Ordinal);
    }

    private static SyntheticModelRunner New(SyntheticModel model) => new(model, PageTokens, 512, spend: null);

    [Fact]
    public void A_head_too_small_for_its_hash_is_refused_by_the_settings_that_made_it_so()
    {
        var error = Assert.Throws<ArgumentException>(() => new SyntheticModelRunner(Small with { HeadDim = 2 }, PageTokens, 512, null, KvDataType.Float16));
        Assert.Contains("head-dim=2 is 4 bytes with --kv-dtype f16", error.Message, StringComparison.Ordinal);
        using var runner = new SyntheticModelRunner(Small, PageTokens, 512, null, KvDataType.Float16);
        Assert.Equal((KvDataType.Float16, Small.HeadDim * 2), (runner.Layout.DataType, runner.Layout.HeadBytes));
    }

    private static float[] Run(SyntheticModelRunner runner, int[] tokens, int[] cuts, Random random)
    {
        using var sequence = new Sequence(runner, random);
        var start = 0;
        float[] logits = [];
        foreach (var count in cuts.Where(count => count > 0))
        {
            logits = sequence.Step(runner, tokens.AsMemory(start, count));
            start += count;
        }

        return logits;
    }

    private static async Task PassUntilEnded(FakeTimeProvider time, Task task)
    {
        while (!task.IsCompleted)
        {
            time.Advance(TimeSpan.FromMilliseconds(1));
            await Task.Yield();
        }

        await task;
    }

    private sealed class LayersDone(FakeTimeProvider time) : ILayerObserver
    {
        private readonly long _start = time.GetTimestamp();

        public List<TimeSpan> At { get; } = [];

        public void LayerDone(int layer) => At.Add(time.GetElapsedTime(_start));
    }

    /// <summary>A sequence alone in a pool, on pages in an order of its own.</summary>
    private sealed class Sequence(SyntheticModelRunner runner, Random random) : IDisposable
    {
        private int _position;

        public HeapKvPool Pool { get; } = new(runner.Layout, Pages);

        public int[] Table { get; } = [.. Enumerable.Range(0, Pages).OrderBy(_ => random.Next())];

        public float[] Step(SyntheticModelRunner runner, ReadOnlyMemory<int> tokens, ILayerObserver? observer = null)
        {
            var logits = new float[runner.Model.VocabSize];
            runner.Forward([new StepSlice(tokens, _position, Table, WantsLogits: true)], Pool, logits, observer);
            _position += tokens.Length;
            return logits;
        }

        public void Dispose() => Pool.Dispose();
    }
}
