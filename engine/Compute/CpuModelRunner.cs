using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute;

/// <summary>
/// Runs a Hugging Face model folder on the CPU. Owns its weights, scratch memory and worker threads. A step allocates
/// nothing on the managed heap.
/// </summary>
public sealed unsafe class CpuModelRunner : IModelRunner
{
    private readonly DecoderRanks _ranks;
    private readonly StepRules _rules;
    private bool _disposed;

    private CpuModelRunner(ModelDescription model, DecoderConfig config, KvLayout layout, CpuRunnerOptions options, DecoderRanks ranks)
    {
        Model = model;
        Config = config;
        Layout = layout;
        _ranks = ranks;
        _rules = new StepRules(model, layout, options.MaxBatchTokens, nameof(CpuRunnerOptions.MaxBatchTokens), ranks.KvShards);
    }

    public ModelDescription Model { get; }

    public KvLayout Layout { get; }

    public int KvShards => _ranks.KvShards;

    /// <summary>The model's shape.</summary>
    public DecoderConfig Config { get; }

    /// <summary>Bytes of weights that computing one token with its logits reads: decode cannot be faster than reading them.</summary>
    public long WeightBytesPerToken => _ranks.BytesPerToken;

    /// <summary>The weights are mapped from the cache, so that processes have them in memory once together.</summary>
    public bool WeightsShared => _ranks.WeightsShared;

    /// <summary>Loads a model folder: config.json, generation_config.json if present, and the safetensors weights, all in this call.</summary>
    /// <exception cref="ModelLoadException">The folder is missing, damaged or of an unsupported kind.</exception>
    /// <exception cref="ArgumentException">
    /// An option is out of range, the model cannot be divided among <see cref="CpuRunnerOptions.TensorParallel"/> ranks, or a processor that the process may not use.
    /// </exception>
    /// <exception cref="PlatformNotSupportedException">Processors are given elsewhere than on Linux.</exception>
    public static CpuModelRunner Load(string folder, CpuRunnerOptions options)
    {
        options.Validate();
        using var opened = ModelFolder.Open(folder, options.MaxContextTokens);
        var (model, config, checkpoint, identity) = (opened.Description, opened.Config, opened.Checkpoint, opened.Identity);
        var layout = new KvLayout(
            $"{model.Id}-{identity}{Rounding(options.Weights, checkpoint)}",
            config.Layers,
            config.KvHeads,
            config.HeadStride,
            options.PageTokens,
            options.KvDataType);

        return new CpuModelRunner(model, config, layout, options, DecoderRanks.Load(config, layout, checkpoint, options, identity));
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">
    /// No slices, an empty slice, more tokens than <see cref="CpuRunnerOptions.MaxBatchTokens"/>, a token id or page out of range, a
    /// position outside the context, a short block table, a pool of another layout, or a logits buffer of the wrong size.
    /// </exception>
    public void Forward(ReadOnlySpan<StepSlice> slices, KvPool pool, Span<float> logits, ILayerObserver? observer)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _ = _rules.Check(slices, pool, logits);
        fixed (float* pointer = logits)
        {
            _ranks.Run(slices, pool, pointer, observer);
        }
    }

    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _ranks.Dispose();
        }
    }

    /// <summary>Weights that were rounded compute other KV than those of the folder, so the model's name says which: KV of the two never mixes.</summary>
    private static string Rounding(WeightFormat weights, Checkpoint checkpoint) => weights switch
    {
        WeightFormat.BFloat16 when checkpoint.Shards.SelectMany(shard => shard.Tensors.Values).Any(tensor => tensor.Type != "BF16") => "-bf16",
        WeightFormat.Int8 => "-int8",
        _ => "",
    };
}
