using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>PagedDecode.cu: LayerPages.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct LayerPages(nint Pages, nint PageElements, int PageTokens, int KvHeads);

/// <summary>PagedDecode.cu: PagedRows.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct PagedRows(nint Lengths, nint PageBegins, nint UnitBegins, nint Pages);

/// <summary>
/// The launches of one step through all blocks. A block is: residual and norm, queries/keys/values, their rotation and way into the pages, attention, output projection, residual
/// and norm, feed-forward. Owns the memory between them, for the largest step.
/// </summary>
internal sealed class CudaStep : IDisposable
{
    private const int ElementBytes = 2;

    private readonly IGpu _gpu;
    private readonly DecoderConfig _config;
    private readonly CudaWeights _weights;
    private readonly StepKernels _kernels;
    private readonly StepInputs _inputs;
    private readonly List<IGpuMemory> _memory = [];
    private readonly List<RopeConfig> _ropes;
    private readonly List<IGpuMemory> _frequencies = [];
    private readonly List<IGpuMemory> _angles = [];
    private readonly int _kvElementBytes;

    /// <summary>Null for a model that is not divided among GPUs: what these compute of a sum is added up by all.</summary>
    private readonly ICollective? _collective;

    // [rows, hidden] f32: the residual stream, and what half a block adds to it. The rest is of the compute type.
    private readonly IGpuMemory _residual, _delta;
    private readonly IGpuMemory _normed, _qkv, _queries, _attended;

    private readonly CudaProducts _products;
    private readonly CudaFeedForward _feedForward;

    /// <summary>What decoding leaves of each unit: [units, heads, headStride] and [units, heads, 2].</summary>
    private readonly IGpuMemory _sums, _extremes;
    private readonly int _units;

    public CudaStep(
        IGpu gpu, DecoderConfig config, CudaWeights weights, ModelKernels names, StepInputs inputs, int kvElementBytes, ICollective? collective, ManyRowProducts many, StepLimits limits)
    {
        int maxRows = limits.Rows;
        (_gpu, _config, _weights, _inputs, _kvElementBytes, _collective) = (gpu, config, weights, inputs, kvElementBytes, collective);
        try
        {
            _kernels = new StepKernels(gpu, names, CudaWeights.ExpertsOf(config));
            _ropes = [.. config.Blocks.Select(block => block.Rope).Distinct()];
            foreach (var rope in _ropes)
            {
                _frequencies.Add(UploadFrequencies(rope));
                _angles.Add(Keep(maxRows, rope.Frequencies.Count * 2 * sizeof(float)));
            }

            _residual = Keep(maxRows, config.Hidden * sizeof(float));
            _delta = Keep(maxRows, config.Hidden * sizeof(float));
            _normed = Keep(maxRows, CudaWeights.Padded(config.Hidden) * ElementBytes);
            _qkv = Keep(maxRows, (config.QuerySize + 2 * config.KvSize) * ElementBytes);
            _queries = Keep(maxRows, config.Heads * config.HeadStride * ElementBytes);
            _attended = Keep(maxRows, config.Heads * config.HeadStride * ElementBytes);
            _products = new CudaProducts(gpu, _kernels, config, names.Compute, many, maxRows);
            _feedForward = new CudaFeedForward(gpu, config, _kernels, _products, weights.RouterParts, maxRows);
            _units = limits.Units;
            _sums = Keep(_units, config.Heads * config.HeadStride * sizeof(float));
            _extremes = Keep(_units, config.Heads * 2 * sizeof(float));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Launches everything for the placed inputs; logits [logitRows, vocab] are on the device when the stream got there.</summary>
    /// <param name="units">At least those that were placed; those behind are padding.</param>
    /// <param name="layerDone">Called after the launches that put a layer's KV into the pool, or null.</param>
    /// <param name="chosen">The tokens that the step before chose.</param>
    public void Launch(KvPool pool, int rows, int decodeRows, int logitRows, int units, LogitMemory logits, IGpuMemory chosen, Action<int>? layerDone)
    {
        _gpu.Call(
            _kernels.Embed, new Extent(rows, Blocks(_config.Hidden)),
            KernelArgument.Pointer(_residual), _weights.Embedding.Argument, _inputs.Tokens, KernelArgument.Pointer(chosen), _weights.EmbeddingScale, _config.Hidden, _weights.Embedding.Inputs);
        for (int i = 0; i < _ropes.Count; i++)
        {
            int pairs = _ropes[i].Frequencies.Count;
            _gpu.Call(
                _kernels.RopeAngles, new Extent(rows, (pairs + _kernels.RopeAngles.Threads - 1) / _kernels.RopeAngles.Threads),
                KernelArgument.Pointer(_angles[i]), KernelArgument.Pointer(_frequencies[i]), _inputs.Positions, _inputs.LongContexts, _ropes[i].Magnitude, pairs);
        }

        for (int layer = 0; layer < _config.Layers; layer++)
        {
            var block = _weights.Blocks[layer];
            Norm(layer > 0, layer > 0 ? _weights.Blocks[layer - 1].PostFeedForwardNorm : null, block.AttentionNorm, rows);
            _products.Multiply(block.Qkv, _normed, _qkv, floats: false, rows);
            Attend(pool, layer, rows, decodeRows, units, layerDone);
            _products.Multiply(block.AttentionOutput, _attended, _delta, floats: true, rows);
            _collective?.Sum(_delta.Value, (long)rows * _config.Hidden);
            Norm(true, block.PostAttentionNorm, block.FeedForwardNorm, rows);
            _feedForward.Launch(block, _config.Blocks[layer].Experts, _normed, _delta, rows, _inputs.Slots);
            _collective?.Sum(_delta.Value, (long)rows * _config.Hidden);
        }

        Norm(true, _weights.Blocks[^1].PostFeedForwardNorm, _weights.FinalNorm, logitRows, _inputs.LogitRowMap);
        _products.Multiply(_weights.Output, _normed, logits.Part ?? logits.Whole, floats: true, logitRows);
        if (logits.Part is { } part && logitRows > 0)
        {
            _gpu.Call(
                _kernels.PlaceColumns, new Extent(logitRows, Blocks(_config.VocabSize)),
                KernelArgument.Pointer(logits.Whole), KernelArgument.Pointer(part), _weights.FirstOutput, _weights.Output.Outputs, _config.VocabSize);
            _collective!.Sum(logits.Whole.Value, (long)logitRows * _config.VocabSize);
        }

        if (_config.LogitSoftCap is { } cap)
        {
            nint count = (nint)logitRows * _config.VocabSize;
            _gpu.Call(_kernels.SoftCap, new Extent((int)((count + StepKernels.ElementThreads - 1) / StepKernels.ElementThreads)), KernelArgument.Pointer(logits.Whole), cap, count);
        }
    }

    public void Dispose()
    {
        _memory.ForEach(memory => memory.Dispose());
        _memory.Clear();
        _feedForward?.Dispose();
        _products?.Dispose();
    }

    /// <summary>What is found out once and for all. Blocks have matrices of the same sizes; logits are of few rows in most steps.</summary>
    public void Tune(int maxRows)
    {
        var block = _weights.Blocks[0];
        // The first sums make the ways between GPUs, which may not happen while a step is recorded.
        _collective?.Sum(_delta.Value, _config.Hidden);
        _collective?.Sum(_delta.Value, (long)maxRows * _config.Hidden);
        _products.Tune(block.Qkv, _normed, _qkv, floats: false, maxRows);
        _products.Tune(block.AttentionOutput, _attended, _delta, floats: true, maxRows);
        _feedForward.Tune(block, _normed, _delta, maxRows);
    }

    private static int Blocks(int elements) => (elements + StepKernels.ElementThreads - 1) / StepKernels.ElementThreads;

    private void Attend(KvPool pool, int layer, int rows, int decodeRows, int units, Action<int>? layerDone)
    {
        var (block, description) = (_weights.Blocks[layer], _config.Blocks[layer]);
        int rope = _ropes.IndexOf(description.Rope), pageTokens = pool.Layout.PageTokens;
        nint pages;
        unsafe
        {
            pages = (nint)pool.PagePointer(layer, 0);
        }

        nint pageElements = pool.Layout.PageBytes / _kvElementBytes;
        _gpu.Call(
            _kernels.RopeKv, new Extent(rows),
            KernelArgument.Pointer(_qkv), KernelArgument.Pointer(_queries), pages, _inputs.Slots, KernelArgument.Pointer(_angles[rope]),
            KernelArgument.Pointer(block.QueryNorm), KernelArgument.Pointer(block.KeyNorm),
            _config.Heads, _config.KvHeads, _config.HeadDim, _config.HeadStride, _ropes[rope].Frequencies.Count, pageTokens, pageElements, _config.NormEpsilon);
        layerDone?.Invoke(layer);

        var layerPages = KernelArgument.Of(new LayerPages(pages, pageElements, pageTokens, _config.KvHeads));
        var pagedRows = KernelArgument.Of(new PagedRows(_inputs.Lengths, _inputs.PageBegins, _inputs.UnitBegins, _inputs.Pages));
        float softCap = _config.AttentionSoftCap ?? 0;
        int headTiles = (_config.GroupSize + StepKernels.DecodeHeads - 1) / StepKernels.DecodeHeads;
        foreach (var run in units <= _units ? [(0, decodeRows, 0, units)] : _inputs.Runs(_units))
        {
            Decode(run);
        }

        _gpu.Call(
            _kernels.PrefillAttention, new Extent(_inputs.Tiles, _config.KvHeads),
            KernelArgument.Pointer(_attended), KernelArgument.Pointer(_queries), layerPages, _inputs.Slices, _inputs.TileList, _inputs.Pages,
            description.Window, _config.AttentionScale, softCap);

        // The working area begins with the run's first unit; rows name units by their place among all.
        void Decode((int Row, int Rows, int Unit, int Units) run)
        {
            _gpu.Call(
                _kernels.PagedDecode, new Extent(run.Units, _config.KvHeads * headTiles),
                KernelArgument.Pointer(_sums), KernelArgument.Pointer(_extremes), KernelArgument.Pointer(_queries), layerPages, _inputs.UnitList + run.Unit * Marshal.SizeOf<DecodeUnit>(), pagedRows,
                description.Window, _config.AttentionScale, softCap);
            nint before = (nint)run.Unit * _config.Heads * sizeof(float);
            int rowBytes = run.Row * sizeof(int);
            _gpu.Call(
                _kernels.CombineUnits, new Extent(run.Rows, _config.Heads),
                _attended.Value + (nint)run.Row * _config.Heads * _config.HeadStride * ElementBytes, _sums.Value - before * _config.HeadStride, _extremes.Value - before * 2,
                KernelArgument.Of(new PagedRows(_inputs.Lengths + rowBytes, _inputs.PageBegins + rowBytes, _inputs.UnitBegins + rowBytes, _inputs.Pages)), description.Window, _config.HeadStride);
        }
    }

    /// <summary>Adds the delta to the residual stream, and norms the sum for the rows, or for those of the map.</summary>
    private void Norm(bool withDelta, IGpuMemory? postNorm, IGpuMemory norm, int rows, nint map = 0) =>
        _gpu.Call(
            _kernels.Norm, new Extent(rows),
            KernelArgument.Pointer(_residual), KernelArgument.Pointer(withDelta ? _delta : null), KernelArgument.Pointer(postNorm), KernelArgument.Pointer(norm),
            KernelArgument.Pointer(_normed), map, _config.Hidden, CudaWeights.Padded(_config.Hidden), _config.NormEpsilon);

    private unsafe IGpuMemory UploadFrequencies(RopeConfig rope)
    {
        double[] both = [.. rope.For(longContext: false), .. rope.For(longContext: true)];
        var memory = Keep(both.Length, sizeof(double));
        using var pinned = _gpu.AllocatePinned(both.Length * sizeof(double));
        both.CopyTo(new Span<double>((void*)pinned.Value, both.Length));
        _gpu.Upload((void*)pinned.Value, memory, 0, both.Length * sizeof(double));
        _gpu.Wait();
        return memory;
    }

    private IGpuMemory Keep(int rows, int rowBytes)
    {
        var memory = _gpu.Allocate((long)rows * rowBytes);
        _memory.Add(memory);
        return memory;
    }
}
