using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>
/// Products with weight matrices. Of the kernels, which sum in one order, the fastest for a number of rows is taken: its choice changes no bit, unless a library is told to multiply many rows.
/// Owns the memory in which wide products of few blocks leave their chains.
/// </summary>
internal sealed class CudaProducts : IDisposable
{
    /// <summary>Rows up to which a block of products of few takes all of them, so that the weights are read once.</summary>
    private const int FewRows = 16;

    private readonly IGpu _gpu;
    private readonly StepKernels _kernels;
    private readonly ComputeType _compute;
    private readonly IGpuMemory? _chains;
    private readonly ILibraryProducts? _library;

    /// <param name="many">What multiplies more rows than few.</param>
    public CudaProducts(IGpu gpu, StepKernels kernels, DecoderConfig config, ComputeType compute, ManyRowProducts many, int maxRows)
    {
        (_gpu, _kernels, _compute) = (gpu, kernels, compute);
        long bytes = ChainBytes(config, maxRows, gpu.Multiprocessors);
        _chains = bytes > 0 ? gpu.Allocate(bytes) : null;
        try
        {
            _library = many == ManyRowProducts.CublasLt ? gpu.CreateLibraryProducts() : null;
            if (kernels.Hopper is not null)
            {
                new HopperCheck(gpu, kernels).Run();
            }
        }
        catch
        {
            _chains?.Dispose();
            throw;
        }
    }

    /// <summary>Bytes for the chains of a model's products.</summary>
    public static long ChainBytes(DecoderConfig config, int maxRows, int multiprocessors)
    {
        long elements = 0;
        int routed = config.Blocks.Max(block => block.Experts?.Count ?? 0) * CudaWeights.MostRouterParts;
        foreach (int outputs in (int[])[config.QuerySize + 2 * config.KvSize, config.Hidden, 2 * CudaWeights.Padded(config.FeedForward), routed, config.VocabSize])
        {
            // The most rows of each number of blocks.
            for (int rows = Math.Min(maxRows, TileRows(FewRows + 1)); rows > FewRows && IsSplit(rows, outputs, multiprocessors); rows = rows < maxRows ? Math.Min(maxRows, rows + TileRows(rows)) : 0)
            {
                elements = Math.Max(elements, (long)rows * outputs);
            }
        }

        return elements * ProductKernels.Chains * sizeof(float);
    }

    /// <summary>outputs [rows, matrix.Outputs] = inputs [rows, matrix.Inputs] * weights^T + bias.</summary>
    /// <param name="floats">The outputs are f32, else of the compute type.</param>
    public void Multiply(CudaMatrix matrix, IGpuMemory inputs, IGpuMemory outputs, bool floats, int rows)
    {
        var kernels = matrix.Scales is null ? _kernels.ExactProducts : _kernels.Products;
        if (rows <= FewRows)
        {
            Call((rows <= 8 ? kernels.OfEight : kernels.OfSixteen).For(floats), new Extent(Blocks(matrix.Outputs, ProductKernels.SkinnyOutputs)), matrix, matrix.Bias, inputs, outputs, rows);
            return;
        }

        if (_library is not null && ShapeOf(matrix, floats) is { } shape)
        {
            _library.Multiply(shape, new ProductOperands(outputs.Value, inputs.Value, matrix.Weights.Value, matrix.Bias?.Value ?? 0), rows);
            return;
        }

        int blocks = WideBlocks(rows, matrix.Outputs);
        bool narrow = TileRows(rows) == 64;
        if (!IsSplit(rows, matrix.Outputs, _gpu.Multiprocessors))
        {
            if (_kernels.Hopper is { } hopper && !narrow && matrix.Scales is null && HopperCheck.Takes(matrix.Inputs))
            {
                _gpu.Call(
                    hopper.For(floats), new Extent(blocks),
                    KernelArgument.Pointer(outputs), KernelArgument.Pointer(inputs), KernelArgument.Pointer(matrix.Weights), KernelArgument.Pointer(matrix.Bias), rows, matrix.Inputs, matrix.Outputs);
                return;
            }

            Call((narrow ? kernels.Of64 : kernels.Of128).For(floats), new Extent(blocks), matrix, matrix.Bias, inputs, outputs, rows);
            return;
        }

        Call(narrow ? kernels.SplitOf64 : kernels.SplitOf128, new Extent(blocks, ProductKernels.Chains), matrix, bias: null, inputs, _chains!, rows);
        _gpu.Call(
            _kernels.AddChains.For(floats), new Extent(rows, Blocks(matrix.Outputs, StepKernels.ElementThreads)),
            KernelArgument.Pointer(outputs), KernelArgument.Pointer(_chains), KernelArgument.Pointer(matrix.Bias), rows, matrix.Outputs);
    }

    /// <summary>Lets the library find its algorithms for a matrix, if there is one; overwrites the outputs.</summary>
    public void Tune(CudaMatrix matrix, IGpuMemory inputs, IGpuMemory outputs, bool floats, int maxRows)
    {
        if (_library is null || ShapeOf(matrix, floats) is not { } shape)
        {
            return;
        }

        var rows = new List<int>();
        for (int count = 2 * FewRows; count < maxRows; count *= 2)
        {
            rows.Add(count);
        }

        if (maxRows > FewRows)
        {
            rows.Add(maxRows);
        }

        _library.Tune(shape, new ProductOperands(outputs.Value, inputs.Value, matrix.Weights.Value, matrix.Bias?.Value ?? 0), rows);
    }

    public void Dispose()
    {
        _chains?.Dispose();
        _library?.Dispose();
    }

    /// <summary>Null for what the library has not: weights of 8 bits, and outputs in another type than the bias.</summary>
    private ProductShape? ShapeOf(CudaMatrix matrix, bool floats) => matrix.Scales is not null || (floats && matrix.Bias is not null)
        ? null
        : new ProductShape(matrix.Outputs, matrix.Inputs, _compute, floats, matrix.Bias is not null);

    private static int Blocks(int count, int each) => (count + each - 1) / each;

    private static int TileRows(int rows) => rows <= 64 ? 64 : 128;

    private static int WideBlocks(int rows, int outputs) => Blocks(rows, TileRows(rows)) * Blocks(outputs, ProductKernels.WideOutputs);

    /// <summary>With fewer blocks than there are multiprocessors, each chain is a block's own.</summary>
    private static bool IsSplit(int rows, int outputs, int multiprocessors) => WideBlocks(rows, outputs) < multiprocessors;

    private void Call(Kernel kernel, Extent grid, CudaMatrix matrix, IGpuMemory? bias, IGpuMemory inputs, IGpuMemory outputs, int rows) => _gpu.Call(
        kernel, grid,
        KernelArgument.Pointer(outputs), KernelArgument.Pointer(inputs), matrix.Argument, KernelArgument.Pointer(bias), rows, matrix.Inputs, matrix.Outputs);
}
