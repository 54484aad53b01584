using System.Globalization;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;

namespace ScriptedServe.GpuChecks;

/// <summary>The rate of the GPU's matrix products in bf16, by cuBLASLt: what prefill is held against.</summary>
internal static unsafe class MatrixRate
{
    private const int Size = 8192, Rounds = 20;
    private const long WorkspaceBytes = 32 << 20;

    /// <returns>Operations a second, multiplications and additions counted.</returns>
    public static double Measure(GpuDevice device)
    {
        using var stream = device.CreateStream();
        using var a = device.Allocate(2L * Size * Size);
        using var b = device.Allocate(2L * Size * Size);
        using var c = device.Allocate(2L * Size * Size);
        using var workspace = device.Allocate(WorkspaceBytes);
        using var begin = device.CreateEvent();
        using var end = device.CreateEvent();
        // Zeros would be faster: the device spends less power on them.
        Fill(device, stream, a, new Random(1));
        Fill(device, stream, b, new Random(2));
        Check(CublasLt.cublasLtCreate(out nint handle), nameof(CublasLt.cublasLtCreate));
        Check(CublasLt.cublasLtMatmulDescCreate(out nint description, CublasLt.Compute32F, CublasLt.TypeFloat32), nameof(CublasLt.cublasLtMatmulDescCreate));
        int transposed = CublasLt.Transposed;
        Check(CublasLt.cublasLtMatmulDescSetAttribute(description, CublasLt.DescTransposeA, &transposed, sizeof(int)), nameof(CublasLt.cublasLtMatmulDescSetAttribute));
        Check(CublasLt.cublasLtMatrixLayoutCreate(out nint layout, CublasLt.TypeBFloat16, Size, Size, Size), nameof(CublasLt.cublasLtMatrixLayoutCreate));
        Check(CublasLt.cublasLtMatmulPreferenceCreate(out nint preference), nameof(CublasLt.cublasLtMatmulPreferenceCreate));
        nuint bytes = (nuint)WorkspaceBytes;
        Check(
            CublasLt.cublasLtMatmulPreferenceSetAttribute(preference, CublasLt.PreferenceMaxWorkspaceBytes, &bytes, (nuint)sizeof(nuint)), nameof(CublasLt.cublasLtMatmulPreferenceSetAttribute));
        const int Wanted = 8;
        var found = stackalloc MatmulHeuristic[Wanted];
        Check(
            CublasLt.cublasLtMatmulAlgoGetHeuristic(handle, description, layout, layout, layout, layout, preference, Wanted, found, out int count), nameof(CublasLt.cublasLtMatmulAlgoGetHeuristic));
        double best = 0;
        for (int i = 0; i < count; i++)
        {
            var algorithm = found[i].Algorithm;
            float one = 1, zero = 0;
            // The first one is not measured.
            for (int round = 0; round <= Rounds; round++)
            {
                Check(
                    CublasLt.cublasLtMatmul(
                        handle, description, &one, a.Value, layout, b.Value, layout, &zero, c.Value, layout, c.Value, layout, &algorithm, workspace.Value, (nuint)WorkspaceBytes, stream.Value),
                    nameof(CublasLt.cublasLtMatmul));
                if (round == 0)
                {
                    device.Record(stream, begin);
                }
            }

            device.Record(stream, end);
            best = Math.Max(best, Rounds * 2.0 * Size * Size * Size / device.Elapsed(begin, end).TotalSeconds);
        }

        _ = CublasLt.cublasLtMatmulPreferenceDestroy(preference);
        _ = CublasLt.cublasLtMatrixLayoutDestroy(layout);
        _ = CublasLt.cublasLtMatmulDescDestroy(description);
        _ = CublasLt.cublasLtDestroy(handle);
        return best;
    }

    public static string Tell(double rate) => string.Create(CultureInfo.InvariantCulture, $"matrix rate: {rate / 1e12:F0} TFLOP/s (cuBLASLt, bf16, {Size} cubed, random numbers)");

    /// <summary>Numbers in bf16 between -2 and 2.</summary>
    private static void Fill(GpuDevice device, GpuStream stream, GpuMemory memory, Random random)
    {
        using var staging = device.AllocatePinned(memory.Bytes);
        var words = new Span<ushort>((void*)staging.Value, Size * Size);
        foreach (ref ushort word in words)
        {
            // Any sign and fraction, and an exponent of 0 or little less.
            word = (ushort)((random.Next(0x10000) & 0x80ff) | 0x3f00);
        }

        device.Upload(stream, (void*)staging.Value, memory, 0, memory.Bytes);
        device.Wait(stream);
    }

    private static void Check(int status, string call) => CublasLt.Check(status, call);
}
