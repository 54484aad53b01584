using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>The golden models on a GPU that is none.</summary>
internal static class CudaModels
{
    public const int PageTokens = 4, MaxBatchTokens = 64;

    /// <param name="kv">Null: the compute type.</param>
    /// <param name="context">Null: the model's own.</param>
    public static CudaModelRunner Load(IGpu gpu, string name, KvDataType? kv = null, int? context = null, WeightFormat weights = WeightFormat.Auto)
    {
        var folder = GoldenModels.Folder(name);
        var config = ModelFamilies.Read(ConfigDocument.Read(Path.Combine(folder, "config.json")));
        config = config with { ContextLength = context ?? config.ContextLength };
        using var checkpoint = Checkpoint.Open(folder);
        var kernels = CudaModelLoader.KernelsOf(config, checkpoint, kv, weights);
        var model = new ModelDescription(name, config.VocabSize, config.ContextLength, []) { ShortContext = config.ShortContext };
        var layout = new KvLayout(name, config.Layers, config.KvHeads, config.HeadStride, PageTokens, kernels.Kv);
        return CudaModelRunner.Load(gpu, model, layout, config, checkpoint, kernels, MaxBatchTokens);
    }

    /// <summary>Sequences whose pages lie in random order in a pool of the GPU.</summary>
    public static (CudaKvPool Pool, PagedSequence[] Sequences) Deal(IGpu gpu, CudaModelRunner runner, IReadOnlyList<int[]> prompts, int extraTokens, Random random)
    {
        int[] counts = [.. prompts.Select(prompt => (prompt.Length + extraTokens + PageTokens - 1) / PageTokens)];
        int[] pages = [.. Enumerable.Range(0, counts.Sum() + 1)];
        random.Shuffle(pages);
        var next = 0;
        var sequences = prompts.Select((prompt, i) => new PagedSequence(prompt, pages[next..(next += counts[i])])).ToArray();
        return (new CudaKvPool(gpu, runner.Layout, pages.Length), sequences);
    }
}
