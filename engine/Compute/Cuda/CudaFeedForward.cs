using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>A run of slots that go to one expert; ProductRows.cuh: ExpertTile.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct ExpertTile(int Expert, int First, int Count);

/// <summary>
/// The feed-forward of a block, dense or of experts. With experts, a row has a slot at each of those that it goes to, and the products run over tiles of slots of one expert; which these are
/// is known on the device alone, where tiles that are not used end at once. Owns the memory between its launches.
/// </summary>
internal sealed class CudaFeedForward : IDisposable
{
    private const int ElementBytes = 2;

    private readonly IGpu _gpu;
    private readonly StepKernels _kernels;
    private readonly CudaProducts _products;
    private readonly int _hidden;
    private readonly List<IGpuMemory> _memory = [];

    // [slots, 2 * width] and [slots, width] of the compute type; a slot is a row, or with experts a row at one of them.
    private readonly IGpuMemory _gateUp, _inner;

    // [rows, experts * parts] f32; [slots]; [slots] f32; [tiles]; [slots]; [slots, hidden] f32. Null without experts.
    private readonly IGpuMemory? _logits, _chosen, _weights, _tiles, _slots, _made;

    public CudaFeedForward(IGpu gpu, DecoderConfig config, StepKernels kernels, CudaProducts products, int routerParts, int maxRows)
    {
        (_gpu, _kernels, _products, _hidden) = (gpu, kernels, products, config.Hidden);
        try
        {
            var sizes = Sizes(config, routerParts, maxRows);
            (_gateUp, _inner) = (Keep(sizes[0]), Keep(sizes[1]));
            if (sizes.Length > 2)
            {
                (_logits, _chosen, _weights, _tiles, _slots, _made) = (Keep(sizes[2]), Keep(sizes[3]), Keep(sizes[4]), Keep(sizes[5]), Keep(sizes[6]), Keep(sizes[7]));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Bytes on the device.</summary>
    public static long BytesFor(DecoderConfig config, int routerParts, int maxRows) => Sizes(config, routerParts, maxRows).Sum();

    /// <summary>delta [rows, hidden] f32 of normed [rows, inputs].</summary>
    /// <param name="experts">Null for a dense block.</param>
    /// <param name="kvSlots">[rows] on the device: below 0 for rows that are padding.</param>
    public void Launch(CudaBlock block, ExpertsConfig? experts, IGpuMemory normed, IGpuMemory delta, int rows, nint kvSlots)
    {
        if (experts is null)
        {
            _products.Multiply(block.GateUp, normed, _gateUp, floats: false, rows);
            Activate(rows, block.Down.Inputs, chosen: null);
            _products.Multiply(block.Down, _inner, delta, floats: true, rows);
            return;
        }

        int slots = rows * experts.Chosen, parts = block.Router!.Outputs / experts.Count;
        var (kernel, tileSlots) = Of(slots, experts.Count);
        _products.Multiply(block.Router, normed, _logits!, floats: true, rows);
        _gpu.Call(
            _kernels.Experts!.Route, new Extent(rows),
            KernelArgument.Pointer(_chosen), KernelArgument.Pointer(_weights), KernelArgument.Pointer(_logits), kvSlots, experts.Count, parts, experts.Chosen, experts.Renormalized ? 1 : 0);
        int tiles = MostTiles(slots, experts.Count, tileSlots);
        _gpu.Call(
            _kernels.Experts.Sort, new Extent(1),
            KernelArgument.Pointer(_tiles), KernelArgument.Pointer(_slots), KernelArgument.Pointer(_chosen), slots, experts.Count, tiles, tileSlots);
        int outputs = tileSlots == SkinnySlots ? ProductKernels.SkinnyOutputs : ProductKernels.WideOutputs;
        Multiply(kernel.Same, outputs, block.GateUp, normed, _gateUp, tiles, experts.Chosen);
        Activate(slots, block.Down.Inputs, _chosen);
        Multiply(kernel.Floats, outputs, block.Down, _inner, _made!, tiles, each: 1);
        _gpu.Call(
            _kernels.Experts.Mix, new Extent(rows, Blocks(_hidden, StepKernels.ElementThreads)),
            KernelArgument.Pointer(delta), KernelArgument.Pointer(_made), KernelArgument.Pointer(_chosen), KernelArgument.Pointer(_weights), experts.Chosen, _hidden);
    }

    /// <summary>As <see cref="CudaProducts.Tune"/>, of a dense block's matrices.</summary>
    public void Tune(CudaBlock block, IGpuMemory normed, IGpuMemory delta, int maxRows)
    {
        if (block.Router is null)
        {
            _products.Tune(block.GateUp, normed, _gateUp, floats: false, maxRows);
            _products.Tune(block.Down, _inner, delta, floats: true, maxRows);
        }
    }

    public void Dispose()
    {
        _memory.ForEach(memory => memory.Dispose());
        _memory.Clear();
    }

    private const int SkinnySlots = 8;

    /// <summary>The most tiles that slots can make: each expert's last one is not full.</summary>
    private static int MostTiles(int slots, int experts, int tileSlots) => Math.Min(slots, (slots + Math.Min(experts, slots) * (tileSlots - 1)) / tileSlots);

    private static long[] Sizes(DecoderConfig config, int routerParts, int maxRows)
    {
        long Slots(BlockConfig block) => (long)maxRows * (block.Experts?.Chosen ?? 1);
        long width = config.Blocks.Max(block => Slots(block) * CudaWeights.Padded(block.Experts?.FeedForward ?? config.FeedForward));
        long[] dense = [2 * width * ElementBytes, width * ElementBytes];
        if (CudaWeights.ExpertsOf(config) is not { } experts)
        {
            return dense;
        }

        int slots = maxRows * experts.Chosen;
        return
        [
            .. dense, (long)maxRows * experts.Count * routerParts * sizeof(float), (long)slots * sizeof(int), (long)slots * sizeof(float),
            (long)Math.Max(MostTiles(slots, experts.Count, SkinnySlots), 1) * Marshal.SizeOf<ExpertTile>(), (long)slots * sizeof(int), (long)slots * config.Hidden * sizeof(float),
        ];
    }

    private static int Blocks(int count, int each) => (count + each - 1) / each;

    /// <summary>The larger the tiles, the fewer times an expert's weights are read; the smaller, the less is computed for slots that are not there.</summary>
    private (ProductKernel Kernel, int TileSlots) Of(int slots, int experts) => (slots / experts) switch
    {
        <= 16 => (_kernels.Experts!.OfEight, SkinnySlots),
        <= 96 => (_kernels.Experts!.Of64, 64),
        _ => (_kernels.Experts!.Of128, 128),
    };

    private void Multiply(Kernel kernel, int outputsOfBlock, CudaMatrix matrix, IGpuMemory inputs, IGpuMemory outputs, int tiles, int each) => _gpu.Call(
        kernel, new Extent(tiles, Blocks(matrix.Outputs, outputsOfBlock)),
        KernelArgument.Pointer(outputs), KernelArgument.Pointer(inputs), matrix.Argument, KernelArgument.Pointer(_tiles), KernelArgument.Pointer(_slots), each, matrix.Inputs, matrix.Outputs);

    private void Activate(int slots, int width, IGpuMemory? chosen) => _gpu.Call(
        _kernels.Activate, new Extent(slots, Blocks(width, StepKernels.ElementThreads)),
        KernelArgument.Pointer(_gateUp), KernelArgument.Pointer(_inner), KernelArgument.Pointer(chosen), width);

    private IGpuMemory Keep(long bytes)
    {
        var memory = _gpu.Allocate(bytes);
        _memory.Add(memory);
        return memory;
    }
}
