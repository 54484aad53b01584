using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using ScriptedServe.Engine.Compute.Cpu;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.ComputeBenchmarks;

/// <summary>What the machine can do at most, measured in the same run: the figures of the kernels mean nothing without it.</summary>
internal static unsafe class MachineLimits
{
    private const int Chunk = 1 << 20;
    private const int WindowChunks = 16;

    /// <summary>The processor's own name.</summary>
    public static string Processor => File.Exists("/proc/cpuinfo")
        ? File.ReadLines("/proc/cpuinfo").Where(line => line.StartsWith("model name", StringComparison.Ordinal)).Select(line => line.Split(':', 2)[1].Trim()).FirstOrDefault("unknown")
        : RuntimeInformation.ProcessArchitecture.ToString();

    /// <summary>
    /// Bytes a second that the team reads from a buffer too large for the caches, summing it: window after window, each short enough
    /// to have a chance of running undisturbed.
    /// </summary>
    public static double ReadBandwidth(Measure measure, WorkerTeam team, long bytes)
    {
        using var buffer = new NativeBuffer(bytes);
        new Span<byte>(buffer.Pointer, (int)bytes).Fill(1);
        var sums = new float[team.Threads * 16];
        long window = 0;
        Action<int, int> read = (chunk, worker) => sums[worker * 16] += Read(buffer.Pointer + (window + chunk) * Chunk);
        double seconds = measure.SecondsPerCall(() =>
        {
            team.For(WindowChunks, read);
            window = (window + WindowChunks) % (bytes / Chunk);
        });
        return (double)WindowChunks * Chunk / seconds;
    }

    /// <summary>Bytes a second that the team reads while it goes through a buffer again and again, as decode goes through a model's weights: whatever disturbs is part of it.</summary>
    /// <param name="buffer">Too large for the caches.</param>
    public static double SustainedRead(TimeProvider time, WorkerTeam team, NativeBuffer buffer, int passes)
    {
        var sums = new float[team.Threads * 16];
        int chunks = (int)(buffer.Bytes / Chunk);
        Action<int, int> read = (chunk, worker) => sums[worker * 16] += Read(buffer.Pointer + (long)chunk * Chunk);
        long start = time.GetTimestamp();
        for (int pass = 0; pass < passes; pass++)
        {
            team.For(chunks, read);
        }

        return (double)passes * chunks * Chunk / time.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>Floating-point operations a second of multiply-adds that touch no memory.</summary>
    public static double PeakFlops(Measure measure, WorkerTeam team)
    {
        const int Items = 16;
        const int Steps = 20000;
        var sums = new float[team.Threads * 16];
        double seconds = measure.SecondsPerCall(() => team.For(Items, (_, worker) =>
            sums[worker * 16] += Vector512.IsHardwareAccelerated ? Fused512(Steps) : Fused256(Steps)));
        int lanes = Vector512.IsHardwareAccelerated ? 16 : 8;
        return 2.0 * lanes * 12 * Steps * Items / seconds;
    }

    /// <summary>Sums a chunk in eight streams, as decode reads the panels of a matrix: fewer keep the prefetchers less busy.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Read(byte* source)
    {
        const int Stream = Chunk / 8;
        var sum = Vector256<int>.Zero;
        var (a, b, c, d, e, f, g, h) = (sum, sum, sum, sum, sum, sum, sum, sum);
        for (byte* s = source; s < source + Stream; s += 32)
        {
            a += Vector256.Load((int*)s);
            b += Vector256.Load((int*)(s + Stream));
            c += Vector256.Load((int*)(s + 2 * Stream));
            d += Vector256.Load((int*)(s + 3 * Stream));
            e += Vector256.Load((int*)(s + 4 * Stream));
            f += Vector256.Load((int*)(s + 5 * Stream));
            g += Vector256.Load((int*)(s + 6 * Stream));
            h += Vector256.Load((int*)(s + 7 * Stream));
        }

        return (a + b + c + d + e + f + g + h).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Fused256(int steps)
    {
        var (x, y) = (Vector256.Create(0.999f), Vector256.Create(0.001f));
        Vector256<float> a = y, b = y, c = y, d = y, e = y, f = y, g = y, h = y, i = y, j = y, k = y, l = y;
        for (int step = 0; step < steps; step++)
        {
            a = Vector256.FusedMultiplyAdd(a, x, y);
            b = Vector256.FusedMultiplyAdd(b, x, y);
            c = Vector256.FusedMultiplyAdd(c, x, y);
            d = Vector256.FusedMultiplyAdd(d, x, y);
            e = Vector256.FusedMultiplyAdd(e, x, y);
            f = Vector256.FusedMultiplyAdd(f, x, y);
            g = Vector256.FusedMultiplyAdd(g, x, y);
            h = Vector256.FusedMultiplyAdd(h, x, y);
            i = Vector256.FusedMultiplyAdd(i, x, y);
            j = Vector256.FusedMultiplyAdd(j, x, y);
            k = Vector256.FusedMultiplyAdd(k, x, y);
            l = Vector256.FusedMultiplyAdd(l, x, y);
        }

        return (a + b + c + d + e + f + g + h + i + j + k + l).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Fused512(int steps)
    {
        var (x, y) = (Vector512.Create(0.999f), Vector512.Create(0.001f));
        Vector512<float> a = y, b = y, c = y, d = y, e = y, f = y, g = y, h = y, i = y, j = y, k = y, l = y;
        for (int step = 0; step < steps; step++)
        {
            a = Vector512.FusedMultiplyAdd(a, x, y);
            b = Vector512.FusedMultiplyAdd(b, x, y);
            c = Vector512.FusedMultiplyAdd(c, x, y);
            d = Vector512.FusedMultiplyAdd(d, x, y);
            e = Vector512.FusedMultiplyAdd(e, x, y);
            f = Vector512.FusedMultiplyAdd(f, x, y);
            g = Vector512.FusedMultiplyAdd(g, x, y);
            h = Vector512.FusedMultiplyAdd(h, x, y);
            i = Vector512.FusedMultiplyAdd(i, x, y);
            j = Vector512.FusedMultiplyAdd(j, x, y);
            k = Vector512.FusedMultiplyAdd(k, x, y);
            l = Vector512.FusedMultiplyAdd(l, x, y);
        }

        return (a + b + c + d + e + f + g + h + i + j + k + l).ToScalar();
    }
}
