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
    /// <param name="units">Units of attention that are worked on at a time; null: of as many sequences as there may be.</param>
    public static CudaModelRunner Load(
        IGpu gpu, string name, KvDataType? kv = null, int? context = null, WeightFormat weights = WeightFormat.Auto, ManyRowProducts many = ManyRowProducts.Own, int? units = null)
    {
        var folder = GoldenModels.Folder(name);
        var config = ModelFamilies.Read(ConfigDocument.Read(Path.Combine(folder, "config.json")));
        config = config with { ContextLength = context ?? config.ContextLength };
        using var checkpoint = Checkpoint.Open(folder);
        var kernels = CudaModelLoader.KernelsOf(config, checkpoint, kv, weights);
        var model = new ModelDescription(name, config.VocabSize, config.ContextLength, []) { ShortContext = config.ShortContext };
        var layout = new KvLayout(name, config.Layers, config.KvHeads, config.HeadStride, PageTokens, kernels.Kv);
        var limits = StepLimits.Of(config, MaxBatchTokens, maxSequences: MaxBatchTokens, poolTokens: 0);
        return CudaModelRunner.Load(gpu, model, layout, config, checkpoint, kernels, limits with { Units = units ?? limits.Units }, many);
    }

    /// <summary>Of <see cref="LoadRanks"/>, on all GPUs together.</summary>
    public const long RanksKvBytes = 1 << 20;

    /// <summary>Divided among several GPUs.</summary>
    public static CudaModelRunner LoadRanks(IReadOnlyList<IGpu> gpus, string name, WeightFormat weights = WeightFormat.Auto) => CudaModelLoader.Load(
        GoldenModels.Folder(name),
        new CudaRunnerOptions { PageTokens = PageTokens, MaxBatchTokens = MaxBatchTokens, MaxSequences = 8, TensorParallel = gpus.Count, Weights = weights, KvMemoryBytes = RanksKvBytes },
        (_, rank) => gpus[rank]);

    /// <summary>Sequences whose pages lie in random order in a pool of the runner's.</summary>
    public static (KvPool Pool, PagedSequence[] Sequences) Deal(CudaModelRunner runner, IReadOnlyList<int[]> prompts, int extraTokens, Random random)
    {
        int[] counts = [.. prompts.Select(prompt => (prompt.Length + extraTokens + PageTokens - 1) / PageTokens)];
        int[] pages = [.. Enumerable.Range(0, counts.Sum() + 1)];
        random.Shuffle(pages);
        var next = 0;
        var sequences = prompts.Select((prompt, i) => new PagedSequence(prompt, pages[next..(next += counts[i])])).ToArray();
        return (runner.CreatePool(pages.Length, epoch: 1), sequences);
    }
}
