using ScriptedServe.Contracts;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Profiling;

/// <summary>
/// Times a runner's steps. KV before a step's tokens is whatever the pool has: steps take as long whatever the numbers are. Sequences have pages of their own.
/// </summary>
internal sealed class StepProfiler(IModelRunner runner, KvPool pool, BudgetedTimer timer, TimeProvider time, List<string> skipped)
{
    private static readonly SamplingParameters s_greedy = new() { Temperature = 0 };

    private readonly int[] _allPages = [.. Enumerable.Range(0, pool.Pages)];
    private float[] _logits = [];

    public async Task<PrefillTime?> PrefillAsync(int chunk, int context)
    {
        if (!CanRun($"prefill of {chunk} tokens after {context}", 1, context + chunk))
        {
            return null;
        }

        int[] tokens = [.. Enumerable.Range(0, chunk).Select(Token)];
        StepSlice[] slices = [new(tokens, context, _allPages.AsMemory(0, PagesOf(context + chunk)), WantsLogits: true)];
        var (seconds, samples) = await timer.MeasureAsync(() => Task.FromResult(Time(slices)));
        return new PrefillTime(chunk, context, 1e3 * seconds, chunk / seconds, samples);
    }

    public async Task<DecodeTime?> DecodeAsync(int sequences, int context)
    {
        if (!CanRun($"decode of {sequences} sequences after {context} tokens each", sequences, context + 1))
        {
            return null;
        }

        var pages = PagesOf(context + 1);
        StepSlice[] slices =
        [
            .. Enumerable.Range(0, sequences).Select(i => new StepSlice(new[] { Token(i) }, context, _allPages.AsMemory(i * pages, pages), WantsLogits: true)),
        ];
        var (seconds, samples) = await timer.MeasureAsync(() => Task.FromResult(Time(slices)));
        return new DecodeTime(sequences, context, 1e3 * seconds, sequences / seconds, samples);
    }

    private TimeSpan Time(StepSlice[] slices)
    {
        var wanted = slices.Length * runner.Model.VocabSize;
        if (_logits.Length < wanted)
        {
            _logits = new float[wanted];
        }

        var choices = slices.Select(slice => new TokenChoice(slice, s_greedy, null, 0, slice.Position + slice.Count)).ToArray();
        var started = time.GetTimestamp();
        if (runner is ISamplingRunner chooser)
        {
            // As the engine runs it: the logits stay where they are.
            chooser.Launch(slices, pool, choices, null);
            chooser.Collect();
        }
        else
        {
            runner.Forward(slices, pool, _logits.AsSpan(0, wanted), null);
        }

        return time.GetElapsedTime(started);
    }

    private bool CanRun(string what, int sequences, int tokens)
    {
        var why = tokens > runner.Model.ContextLength ? $"the model's context is {runner.Model.ContextLength}"
            : (long)sequences * PagesOf(tokens) > pool.Pages ? $"its KV takes {sequences * PagesOf(tokens) * pool.Layout.PageBytesAllLayers >> 20} MiB (--kv-memory)"
            : timer.IsSpent ? "time was up (--budget-seconds)"
            : null;
        if (why is not null)
        {
            skipped.Add($"{what}: {why}");
            timer.Skip();
        }

        return why is null;
    }

    private int PagesOf(int tokens) => (tokens + pool.Layout.PageTokens - 1) / pool.Layout.PageTokens;

    /// <summary>Ids all over the vocabulary, the same each time.</summary>
    private int Token(int index) => (int)((index + 1) * 2654435761L % runner.Model.VocabSize);
}
