using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>Weights.cuh: Matrix.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct MatrixPointers(nint Weights, nint Scales);

/// <summary>A matrix <c>[outputs, inputs]</c> on the device, of the compute type or of codes with scales, and its bias or null. Inputs are padded to whole vectors of 8; of experts, as many matrices lie one behind the other.</summary>
internal sealed record CudaMatrix(IGpuMemory Weights, IGpuMemory? Scales, IGpuMemory? Bias, int Outputs, int Inputs)
{
    public KernelArgument Argument => KernelArgument.Of(new MatrixPointers(Weights.Value, Scales?.Value ?? 0));
}

/// <summary>One block's weights; norms are f32 with the 1 of families that add one added. Null where the model has no such part.</summary>
/// <param name="Router">[experts, or twice as many, hidden]: where the compute type rounds the folder's, what rounding left comes behind. Null in a dense block.</param>
/// <param name="GateUp">[2 * width, hidden]: gate, up, each padded to a multiple of 8. In a block of experts each has one, as of <paramref name="Down"/>.</param>
internal sealed record CudaBlock(
    IGpuMemory AttentionNorm, CudaMatrix Qkv, IGpuMemory? QueryNorm, IGpuMemory? KeyNorm, CudaMatrix AttentionOutput, IGpuMemory? PostAttentionNorm,
    IGpuMemory FeedForwardNorm, CudaMatrix? Router, CudaMatrix GateUp, CudaMatrix Down, IGpuMemory? PostFeedForwardNorm);

/// <summary>
/// A model's weights on the device. Rows pass through one pinned buffer and are converted on the way; the checkpoint can be closed after loading. Owns all of its memory.
/// </summary>
internal sealed unsafe class CudaWeights : IDisposable
{
    /// <summary>A router's matrix and what rounding it left.</summary>
    public const int MostRouterParts = 2;

    private const long StagingBytes = 16 << 20;
    private const int ElementBytes = 2;

    private readonly IGpu _gpu;
    private readonly Checkpoint _checkpoint;
    private readonly ModelKernels _kernels;
    private readonly RankShare _share;
    private readonly IGpuMemory _staging;
    private readonly List<IGpuMemory> _memory = [];

    private CudaWeights(IGpu gpu, DecoderConfig config, Checkpoint checkpoint, ModelKernels kernels, RankShare share)
    {
        (_gpu, _checkpoint, _kernels, _share) = (gpu, checkpoint, kernels, share);
        // A row passes whole.
        int widest = Math.Max(config.Hidden, Math.Max(config.Blocks.Max(block => WidthOf(config, block)), config.Heads * config.HeadStride));
        _staging = Keep(gpu.AllocatePinned(Math.Max(StagingBytes, 8L * widest)));
        try
        {
            var names = config.Names;
            Embedding = Matrix([Part("", names.Embedding, config.VocabSize, config.Hidden, bias: false)], InputPlaces.Whole(config.Hidden));
            EmbeddingScale = DecoderWeights.ScaleOfEmbeddings(config, checkpoint);
            RouterParts = RouterPartsOf(config, checkpoint, kernels.Compute);
            Blocks = [.. Enumerable.Range(0, config.Layers).Select(layer => Block(config, config.Blocks[layer], names.Block(layer)))];
            FinalNorm = Norm(names.FinalNorm, config.Hidden, config);
            (FirstOutput, int outputs) = share.IsWhole ? (0, config.VocabSize) : share.OfVocabulary(config);
            var output = Part("", config.TiedEmbeddings ? names.Embedding : names.Output, config.VocabSize, config.Hidden, bias: false);
            Output = config.TiedEmbeddings && share.IsWhole ? Embedding : Matrix([output with { Weights = output.Weights.PartOfRows(FirstOutput, outputs), Rows = outputs }], InputPlaces.Whole(config.Hidden));
            _memory.Remove(_staging);
            _staging.Dispose();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public CudaMatrix Embedding { get; }

    public float EmbeddingScale { get; }

    /// <summary>1, or <see cref="MostRouterParts"/> where routers are rounded.</summary>
    public int RouterParts { get; }

    public IReadOnlyList<CudaBlock> Blocks { get; }

    public IGpuMemory FinalNorm { get; }

    /// <summary><see cref="Embedding"/> itself where the two are tied and the model is not divided; of a rank its part of the vocabulary.</summary>
    public CudaMatrix Output { get; }

    /// <summary>The first token of that part.</summary>
    public int FirstOutput { get; }

    /// <param name="config">Of the whole model.</param>
    /// <param name="share">What of it is loaded: heads, inner elements and outputs; norms, routers and embeddings are everyone's.</param>
    /// <exception cref="ModelLoadException">A tensor is missing, has the wrong shape or type, or elements that are not finite.</exception>
    public static CudaWeights Load(IGpu gpu, DecoderConfig config, Checkpoint checkpoint, ModelKernels kernels, RankShare share) =>
        new(gpu, config with { Names = config.Names.In(checkpoint, config) }, checkpoint, kernels, share);

    /// <summary>The kernels read vectors of 8.</summary>
    public static int Padded(int width) => (width + 7) / 8 * 8;

    /// <summary>Of the blocks that have experts; null where none has.</summary>
    public static ExpertsConfig? ExpertsOf(DecoderConfig config) => config.Blocks.Select(block => block.Experts).OfType<ExpertsConfig>().FirstOrDefault();

    /// <summary>What <see cref="RouterParts"/> will be.</summary>
    public static int RouterPartsOf(DecoderConfig config, Checkpoint checkpoint, ComputeType compute)
    {
        var names = config.Names.In(checkpoint, config);
        var exact = compute == ComputeType.BFloat16 ? WeightType.BFloat16 : WeightType.Float16;
        return Enumerable.Range(0, config.Layers).Any(layer => config.Blocks[layer].Experts is { } experts
            && checkpoint.Matrix($"{names.Block(layer)}{names.Router}.weight", experts.Count, config.Hidden).Type != exact) ? MostRouterParts : 1;
    }

    public void Dispose()
    {
        _memory.ForEach(memory => memory.Dispose());
        _memory.Clear();
    }

    private static int WidthOf(DecoderConfig config, BlockConfig block) => block.Experts?.FeedForward ?? config.FeedForward;

    private CudaBlock Block(DecoderConfig config, BlockConfig description, string block)
    {
        var names = config.Names;
        IGpuMemory? NormIf(bool present, string name, int length) => present ? Norm(block + name, length, config) : null;
        var whole = InputPlaces.Whole(config.Hidden);
        var (router, gateUp, down) = description.Experts is { } experts ? ExpertMatrices(config, experts, block) : DenseMatrices(config, block);
        return new CudaBlock(
            Norm(block + names.AttentionNorm, config.Hidden, config),
            Matrix(Parts(block, names.Qkv, [config.QuerySize, config.KvSize, config.KvSize], config.Hidden, config.QkvBias).Select(part => OfOutputs(part, config.HeadDim)), whole),
            NormIf(config.QueryKeyNorm, names.QueryNorm, config.HeadDim),
            NormIf(config.QueryKeyNorm, names.KeyNorm, config.HeadDim),
            Matrix([OfInputs(Part(block, names.AttentionOutput, config.Hidden, config.QuerySize, config.OutputBias), config.HeadDim)], new InputPlaces(_share.Of(config).Heads, config.HeadDim, config.HeadStride)),
            NormIf(config.PostNorms, names.PostAttentionNorm, config.Hidden),
            Norm(block + names.FeedForwardNorm, config.Hidden, config),
            router,
            gateUp,
            down,
            NormIf(config.PostNorms, names.PostFeedForwardNorm, config.Hidden));
    }

    private (CudaMatrix? Router, CudaMatrix GateUp, CudaMatrix Down) DenseMatrices(DecoderConfig config, string block)
    {
        int width = config.FeedForward, own = _share.Of(width, _share.Unit).Count;
        var gateUp = Parts(block, config.Names.GateUp, [width, width], config.Hidden, config.FeedForwardBias).Select(OfInner);
        return (null, Matrix(gateUp, InputPlaces.Whole(config.Hidden)), Matrix([OfInputs(Part(block, config.Names.Down, config.Hidden, width, config.FeedForwardBias), _share.Unit)], InputPlaces.Whole(own)));
    }

    private (CudaMatrix? Router, CudaMatrix GateUp, CudaMatrix Down) ExpertMatrices(DecoderConfig config, ExpertsConfig experts, string block)
    {
        var names = config.Names;
        int width = experts.FeedForward, own = _share.Of(width, _share.Unit).Count;
        var router = Part(block, names.Router, experts.Count, config.Hidden, bias: false);
        var gateUps = new List<MatrixPart>();
        var downs = new List<MatrixPart>();
        for (int expert = 0; expert < experts.Count; expert++)
        {
            string prefix = $"{block}{names.Experts}{expert}";
            gateUps.AddRange(Parts(prefix, names.ExpertGateUp, [width, width], config.Hidden, bias: false).Select(OfInner));
            downs.Add(OfInputs(Part(prefix, names.ExpertDown, config.Hidden, width, bias: false), _share.Unit));
        }

        var whole = InputPlaces.Whole(config.Hidden);
        return (
            Matrix(RouterParts == 1 ? [router] : [router, router with { Remainder = true }], whole, StoredWeights.Computed),
            Matrix(gateUps, whole) with { Outputs = 2 * Padded(own) },
            Matrix(downs, InputPlaces.Whole(own)) with { Outputs = config.Hidden });
    }

    /// <summary>The rank's outputs of a projection, in whole units.</summary>
    private MatrixPart OfOutputs(MatrixPart part, int unit)
    {
        var (first, count) = _share.Of(part.Weights.Rows, unit);
        return _share.IsWhole ? part : new MatrixPart(part.Weights.PartOfRows(first, count), part.Bias?.PartOfColumns(first, count), count);
    }

    /// <summary>The rank's inner elements of a gate or of an up, padded.</summary>
    private MatrixPart OfInner(MatrixPart part)
    {
        part = OfOutputs(part, _share.Unit);
        return part with { Rows = Padded(part.Rows) };
    }

    /// <summary>The rank's inputs of a projection, in whole units: products are summed over the ranks, and the first one's have the bias.</summary>
    private MatrixPart OfInputs(MatrixPart part, int unit)
    {
        var (first, count) = _share.Of(part.Weights.Columns, unit);
        return _share.IsWhole ? part : part with { Weights = part.Weights.PartOfColumns(first, count), Bias = _share.Rank == 0 ? part.Bias : null };
    }

    /// <summary>Projections that stand one below the other, in a tensor each or in one for all.</summary>
    private IEnumerable<MatrixPart> Parts(string prefix, IReadOnlyList<string> names, int[] rows, int inputs, bool bias)
    {
        if (names.Count == rows.Length)
        {
            return names.Select((name, i) => Part(prefix, name, rows[i], inputs, bias));
        }

        var all = Part(prefix, names[0], rows.Sum(), inputs, bias);
        return rows.Select((count, i) => new MatrixPart(all.Weights.PartOfRows(rows[..i].Sum(), count), all.Bias?.PartOfColumns(rows[..i].Sum(), count), count));
    }

    private MatrixPart Part(string prefix, string name, int rows, int inputs, bool bias) =>
        new(_checkpoint.Matrix($"{prefix}{name}.weight", rows, inputs), bias ? _checkpoint.Vector($"{prefix}{name}.bias", rows) : null, rows);

    private CudaMatrix Matrix(IEnumerable<MatrixPart> parts, InputPlaces places, StoredWeights? storedAs = null)
    {
        MatrixPart[] all = [.. parts];
        var stored = storedAs ?? _kernels.Weights;
        var rows = new WeightRows(_kernels.Compute, stored, places);
        int outputs = all.Sum(part => part.Rows);
        var weights = Keep(_gpu.Allocate((long)outputs * rows.Bytes));
        var scales = stored == StoredWeights.Computed ? null : Keep(_gpu.Allocate((long)outputs * rows.ScaleBytes));
        long done = 0;
        foreach (var part in all)
        {
            Send(part, rows, weights, scales, done);
            done += part.Rows;
        }

        return new CudaMatrix(weights, scales, all[0].Bias is null ? null : Bias(all, rows, outputs), outputs, places.Inputs);
    }

    private void Send(MatrixPart part, WeightRows rows, IGpuMemory weights, IGpuMemory? scales, long before)
    {
        int atATime = (int)Math.Min(part.Rows, _staging.Bytes / (rows.Bytes + rows.ScaleBytes));
        byte* staged = (byte*)_staging.Value, stagedScales = staged + (long)atATime * rows.Bytes;
        for (int row = 0; row < part.Rows; row += atATime)
        {
            int count = Math.Min(atATime, part.Rows - row), real = Math.Clamp(part.Weights.Rows - row, 0, count);
            rows.Convert(part.Weights, row, real, staged, stagedScales, part.Remainder);
            // Rows of padding are zeros, in every type; codes have scales of zero.
            new Span<byte>(staged + (long)real * rows.Bytes, checked((count - real) * rows.Bytes)).Clear();
            new Span<byte>(stagedScales + (long)real * rows.ScaleBytes, (count - real) * rows.ScaleBytes).Clear();
            _gpu.Upload(staged, weights, (before + row) * rows.Bytes, (long)count * rows.Bytes);
            if (scales is not null)
            {
                _gpu.Upload(stagedScales, scales, (before + row) * rows.ScaleBytes, (long)count * rows.ScaleBytes);
            }

            _gpu.Wait();
        }
    }

    private IGpuMemory Bias(MatrixPart[] parts, WeightRows rows, int outputs)
    {
        var rounded = new Span<ushort>((ushort*)_staging.Value, outputs);
        rounded.Clear();
        foreach (var part in parts)
        {
            part.Bias!.Value.CheckFinite(0);
            var values = new float[part.Bias.Value.Columns];
            part.Bias.Value.ReadRow(0, values);
            for (int i = 0; i < values.Length; i++)
            {
                rounded[i] = rows.Round(values[i]);
            }

            rounded = rounded[part.Rows..];
        }

        var memory = Keep(_gpu.Allocate((long)outputs * ElementBytes));
        _gpu.Upload((void*)_staging.Value, memory, 0, memory.Bytes);
        _gpu.Wait();
        return memory;
    }

    private IGpuMemory Norm(string name, int length, DecoderConfig config)
    {
        var tensor = _checkpoint.Vector(name + ".weight", length);
        tensor.CheckFinite(0);
        var values = new Span<float>((float*)_staging.Value, length);
        tensor.ReadRow(0, values);
        foreach (ref float value in values)
        {
            value += config.NormsAddOne ? 1 : 0;
        }

        var memory = Keep(_gpu.Allocate(length * sizeof(float)));
        _gpu.Upload((void*)_staging.Value, memory, 0, length * sizeof(float));
        _gpu.Wait();
        return memory;
    }

    private IGpuMemory Keep(IGpuMemory memory)
    {
        _memory.Add(memory);
        return memory;
    }

    /// <param name="Rows">At least those of the weights; the others are zeros.</param>
    /// <param name="Remainder">What rounding leaves of the weights is meant.</param>
    private sealed record MatrixPart(TensorView Weights, TensorView? Bias, int Rows, bool Remainder = false);
}
