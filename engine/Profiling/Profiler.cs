using System.Runtime.InteropServices;
using ScriptedServe.Contracts;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Kernels;
using ScriptedServe.Engine.Options;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Profiling;

/// <summary>Measures a model on this machine as an engine with these options would run it.</summary>
internal static class Profiler
{
    /// <summary>Tokens whose KV is copied, besides one page: as much as the largest of these that fits.</summary>
    private static readonly int[] s_copied = [256, 2048];

    /// <param name="time">Of the measurements and the report.</param>
    /// <exception cref="ArgumentException">The grid has what the model or the options can never do; every such thing is named.</exception>
    public static async Task<EngineProfile> RunAsync(IModelRunner runner, EngineOptions options, ProfileOptions profile, TimeProvider time)
    {
        var (model, limits) = (runner.Model, options.Limits);
        var grid = profile.GridFor(ProfileGrid.Within(model.ContextLength, limits.MaxBatchTokens, limits.MaxSequences));
        string[] errors = [.. grid.Errors(model.ContextLength, limits.MaxBatchTokens, limits.MaxSequences)];
        if (errors.Length > 0)
        {
            throw new ArgumentException(string.Join("; ", errors));
        }

        using var pool = PoolFor(runner, grid, options.KvMemoryBytes);
        int[] copied = [.. s_copied.Where(tokens => tokens <= model.ContextLength && tokens <= pool.Pages * pool.Layout.PageTokens).Prepend(pool.Layout.PageTokens).Distinct()];
        var skipped = new List<string>();
        var timer = new BudgetedTimer(
            time, profile.Budget, ((grid.Chunks.Count + grid.Batches.Count) * grid.Contexts.Count) + (copied.Length * CopyProfiler.TransportsOf(pool).Count));
        var steps = new StepProfiler(runner, pool, timer, time, skipped);
        var (prefill, decode) = (new List<PrefillTime?>(), new List<DecodeTime?>());

        // The quick ones first: where time runs out, it is the longest that are missing.
        var copies = await new CopyProfiler(runner, pool, timer, time, skipped).MeasureAsync(copied);
        foreach (var context in grid.Contexts)
        {
            foreach (var batch in grid.Batches)
            {
                decode.Add(await steps.DecodeAsync(batch, context));
            }

            foreach (var chunk in grid.Chunks)
            {
                prefill.Add(await steps.PrefillAsync(chunk, context));
            }
        }

        return new EngineProfile
        {
            Schema = EngineProfile.ExpectedSchema,
            Version = EngineProfile.ExpectedVersion,
            Created = time.GetUtcNow(),
            EngineVersion = typeof(Profiler).Assembly.GetName().Version!.ToString(3),
            Model = new ProfiledModel(
                model.Id, model.VocabSize, model.ContextLength, runner.Layout.Layers, runner.Layout.KvHeads, runner.Layout.HeadDim,
                (int)(runner.Layout.PageBytesAllLayers / runner.Layout.PageTokens)),
            Machine = new ProfiledMachine(RuntimeInformation.OSDescription, $"{RuntimeInformation.ProcessArchitecture}", Environment.ProcessorCount, $"{VectorWidths.Best}"),
            Settings = new ProfiledSettings(
                options.Device, options.Threads, options.Weights.ToString(), runner.Layout.DataType.Name(), runner.Layout.PageTokens, limits.MaxBatchTokens, profile.Budget.TotalSeconds),
            Prefill = [.. prefill.OfType<PrefillTime>().OrderBy(cell => cell.ChunkTokens).ThenBy(cell => cell.ContextTokens)],
            Decode = [.. decode.OfType<DecodeTime>().OrderBy(cell => cell.Sequences).ThenBy(cell => cell.ContextTokens)],
            KvCopy = copies,
            Skipped = skipped,
        };
    }

    /// <summary>Pages for the largest thing to be measured, or for as much as --kv-memory allows. All of them are committed, as after a while in serving.</summary>
    private static KvPool PoolFor(IModelRunner runner, ProfileGrid grid, long memoryBytes)
    {
        var layout = runner.Layout;
        var tokens = (long)grid.Contexts.Max() + Math.Max(grid.Chunks.Max(), s_copied.Max());
        var wanted = Math.Max(grid.Batches.Max() * PagesOf(grid.Contexts.Max() + 1), PagesOf(tokens));
        var pages = Math.Min(wanted, memoryBytes / layout.PageBytesAllLayers);
        if (pages < 1)
        {
            throw new ArgumentException($"--kv-memory {memoryBytes} bytes is less than one page of this model, {layout.PageBytesAllLayers} bytes");
        }

        var pool = runner.CreatePool((int)Math.Min(pages, int.MaxValue), epoch: 1);
        for (var shard = 0; shard < pool.Shards && !pool.IsOnDevice; shard++)
        {
            for (var layer = 0; layer < layout.Layers; layer++)
            {
                for (var page = 0; page < pool.Pages; page++)
                {
                    pool.Shard(shard).Page(layer, page).Clear();
                }
            }
        }

        return pool;

        long PagesOf(long count) => (count + layout.PageTokens - 1) / layout.PageTokens;
    }
}
