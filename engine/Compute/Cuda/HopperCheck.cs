using System.Globalization;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>
/// Asks a GPU whether it adds up a step of wgmma as it does one of mma: the manual does not say. Only then has a token the same bits in a prompt, whose products are of many rows, as decoded.
/// </summary>
internal sealed unsafe class HopperCheck(IGpu gpu, StepKernels kernels)
{
    /// <summary>GemmOrder.cuh: GemmChains * GemmRun; HopperGemm.cu: HopperInputs.</summary>
    private const int RunsOfChains = 256, ChainUnits = 2;

    private const int Inputs = 2048, Outputs = 128, Rows = 128, FewRows = 8;

    /// <summary>Whether chains of so many inputs are whole stages of the kernel.</summary>
    public static bool Takes(int inputs) => (inputs + RunsOfChains - 1) / RunsOfChains % ChainUnits == 0;

    /// <exception cref="CudaUnavailableException">It does not.</exception>
    public void Run()
    {
        using var staging = gpu.AllocatePinned((Rows + Outputs) * Inputs * sizeof(ushort) + 2 * Rows * Outputs * sizeof(float));
        using var operands = gpu.Allocate((Rows + Outputs) * Inputs * sizeof(ushort));
        using var results = gpu.Allocate(2 * Rows * Outputs * sizeof(float));
        // Numbers of many sizes between 2^-8 and 2, in either type, so that sums have something to round. The seed is fixed: a GPU always gives the same answer.
        var random = new Random(1);
        foreach (ref ushort number in new Span<ushort>((void*)staging.Value, (Rows + Outputs) * Inputs))
        {
            number = (ushort)((random.Next(0x10000) & 0x83ff) | 0x3c00);
        }

        gpu.Upload((void*)staging.Value, operands, 0, operands.Bytes);
        nint weights = operands.Value, inputs = weights + Outputs * Inputs * sizeof(ushort), many = results.Value, few = many + Rows * Outputs * sizeof(float);
        gpu.Call(kernels.Hopper!.Value.Floats, new Extent(1), many, inputs, weights, KernelArgument.Pointer(null), Rows, Inputs, Outputs);
        for (int row = 0; row < Rows; row += FewRows)
        {
            gpu.Call(
                kernels.ExactProducts.OfEight.Floats, new Extent(Outputs / ProductKernels.SkinnyOutputs),
                few + row * Outputs * sizeof(float), inputs + row * Inputs * sizeof(ushort), KernelArgument.Of(new MatrixPointers(weights, 0)), KernelArgument.Pointer(null), FewRows, Inputs, Outputs);
        }

        nint read = staging.Value + (nint)operands.Bytes;
        gpu.Download(results, 0, (void*)read, results.Bytes);
        gpu.Wait();
        Compare(new ReadOnlySpan<float>((void*)read, Rows * Outputs), new ReadOnlySpan<float>((void*)(read + Rows * Outputs * sizeof(float)), Rows * Outputs));
    }

    private static void Compare(ReadOnlySpan<float> many, ReadOnlySpan<float> few)
    {
        int different = 0;
        double largest = 0, size = 0;
        for (int i = 0; i < many.Length; i++)
        {
            different += BitConverter.SingleToInt32Bits(many[i]) == BitConverter.SingleToInt32Bits(few[i]) ? 0 : 1;
            largest = Math.Max(largest, Math.Abs(many[i] - (double)few[i]));
            size = Math.Max(size, Math.Abs(few[i]));
        }

        if (different > 0)
        {
            throw new CudaUnavailableException(string.Create(
                CultureInfo.InvariantCulture,
                $"--cuda-gemm wgmma: this GPU's wgmma gives other bits than its mma in {different} of {many.Length} sums (the largest difference is {largest:E1}, sums are up to {size:E1}), so that a token would depend on whether it is decoded or part of a prompt; own and cublaslt do without"));
        }
    }
}
