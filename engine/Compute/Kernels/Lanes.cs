using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>The vector widths there are kernels for. All of them run, if slowly, on every machine.</summary>
public enum VectorWidth
{
    Scalar,
    Vector128,
    Vector256,
    Vector512,
}

public static class VectorWidths
{
    /// <summary>The widest vectors this machine computes fused multiply-adds of in hardware.</summary>
    public static VectorWidth Best =>
        Vector512.IsHardwareAccelerated && Avx512F.IsSupported ? VectorWidth.Vector512
        : Vector256.IsHardwareAccelerated && Fma.IsSupported ? VectorWidth.Vector256
        : AdvSimd.Arm64.IsSupported ? VectorWidth.Vector128
        : VectorWidth.Scalar;
}

internal readonly unsafe struct Lanes16 : ILanes<Vector512<float>>, IIntegerLanes<Vector512<float>, Vector512<int>>
{
    public static int Count => 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(float* source) => Vector512.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector512<float> value, float* destination) => value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Broadcast(float* source) => Vector512.Create(*source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Multiply(Vector512<float> left, Vector512<float> right) => left * right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MultiplyAdd(Vector512<float> left, Vector512<float> right, Vector512<float> addend) =>
        Vector512.FusedMultiplyAdd(left, right, addend);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> FirstOfPairs(byte* pairs) => (Vector512.Load((uint*)pairs) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> SecondOfPairs(byte* pairs) => (Vector512.Load((uint*)pairs) & Vector512.Create(0xFFFF0000u)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> LoadInts(byte* source) => Vector512.Load((int*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Broadcast(int* source) => Vector512.Create(*source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> LowerBytes(Vector512<int> values) => values & Vector512.Create(0x00FF00FF);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> UpperBytes(Vector512<int> values) => (values.AsInt16() >> 8).AsInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> AddProducts(Vector512<int> sum, Vector512<int> weights, Vector512<int> inputs) =>
        Avx512BW.IsSupported
            ? sum + Avx512BW.MultiplyAddAdjacent(weights.AsInt16(), inputs.AsInt16())
            : sum + ((weights << 16) >> 16) * ((inputs << 16) >> 16) + (weights >> 16) * (inputs >> 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ToFloats(Vector512<int> sums) => Vector512.ConvertToSingle(sums);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> OneOfPairs(byte* pairs, int shift) =>
        ((Vector512.Load((uint*)pairs) << shift) & Vector512.Create(0xFFFF0000u)).AsSingle();
}

internal readonly unsafe struct Lanes8 : ILanes<Vector256<float>>, IIntegerLanes<Vector256<float>, Vector256<int>>
{
    public static int Count => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(float* source) => Vector256.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256<float> value, float* destination) => value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Broadcast(float* source) => Vector256.Create(*source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Multiply(Vector256<float> left, Vector256<float> right) => left * right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> MultiplyAdd(Vector256<float> left, Vector256<float> right, Vector256<float> addend) =>
        Vector256.FusedMultiplyAdd(left, right, addend);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> FirstOfPairs(byte* pairs) => (Vector256.Load((uint*)pairs) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SecondOfPairs(byte* pairs) => (Vector256.Load((uint*)pairs) & Vector256.Create(0xFFFF0000u)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> LoadInts(byte* source) => Vector256.Load((int*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Broadcast(int* source) => Vector256.Create(*source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> LowerBytes(Vector256<int> values) => values & Vector256.Create(0x00FF00FF);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> UpperBytes(Vector256<int> values) => (values.AsInt16() >> 8).AsInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> AddProducts(Vector256<int> sum, Vector256<int> weights, Vector256<int> inputs) =>
        Avx2.IsSupported
            ? sum + Avx2.MultiplyAddAdjacent(weights.AsInt16(), inputs.AsInt16())
            : sum + ((weights << 16) >> 16) * ((inputs << 16) >> 16) + (weights >> 16) * (inputs >> 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ToFloats(Vector256<int> sums) => Vector256.ConvertToSingle(sums);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> OneOfPairs(byte* pairs, int shift) =>
        ((Vector256.Load((uint*)pairs) << shift) & Vector256.Create(0xFFFF0000u)).AsSingle();
}

internal readonly unsafe struct Lanes4 : ILanes<Vector128<float>>, IIntegerLanes<Vector128<float>, Vector128<int>>
{
    public static int Count => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Load(float* source) => Vector128.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector128<float> value, float* destination) => value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Broadcast(float* source) => Vector128.Create(*source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Multiply(Vector128<float> left, Vector128<float> right) => left * right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> MultiplyAdd(Vector128<float> left, Vector128<float> right, Vector128<float> addend) =>
        Vector128.FusedMultiplyAdd(left, right, addend);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> FirstOfPairs(byte* pairs) => (Vector128.Load((uint*)pairs) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> SecondOfPairs(byte* pairs) => (Vector128.Load((uint*)pairs) & Vector128.Create(0xFFFF0000u)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> LoadInts(byte* source) => Vector128.Load((int*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Broadcast(int* source) => Vector128.Create(*source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> LowerBytes(Vector128<int> values) => values & Vector128.Create(0x00FF00FF);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> UpperBytes(Vector128<int> values) => (values.AsInt16() >> 8).AsInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> AddProducts(Vector128<int> sum, Vector128<int> weights, Vector128<int> inputs) =>
        Sse2.IsSupported
            ? sum + Sse2.MultiplyAddAdjacent(weights.AsInt16(), inputs.AsInt16())
            : sum + ((weights << 16) >> 16) * ((inputs << 16) >> 16) + (weights >> 16) * (inputs >> 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ToFloats(Vector128<int> sums) => Vector128.ConvertToSingle(sums);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> OneOfPairs(byte* pairs, int shift) =>
        ((Vector128.Load((uint*)pairs) << shift) & Vector128.Create(0xFFFF0000u)).AsSingle();
}

/// <summary>For machines whose vectors have no fused multiply-add.</summary>
internal readonly unsafe struct Lanes1 : ILanes<float>, IIntegerLanes<float, int>
{
    public static int Count => 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Load(float* source) => *source;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float value, float* destination) => *destination = value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Broadcast(float* source) => *source;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Multiply(float left, float right) => left * right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MultiplyAdd(float left, float right, float addend) => MathF.FusedMultiplyAdd(left, right, addend);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float FirstOfPairs(byte* pairs) => BitConverter.UInt32BitsToSingle(*(uint*)pairs << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SecondOfPairs(byte* pairs) => BitConverter.UInt32BitsToSingle(*(uint*)pairs & 0xFFFF0000u);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int LoadInts(byte* source) => *(int*)source;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Broadcast(int* source) => *source;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int LowerBytes(int values) => values & 0x00FF00FF;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int UpperBytes(int values) => (values >> 24 << 16) | (ushort)((short)values >> 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int AddProducts(int sum, int weights, int inputs) => sum + (short)weights * (short)inputs + (weights >> 16) * (inputs >> 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ToFloats(int sums) => sums;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float OneOfPairs(byte* pairs, int shift) => BitConverter.UInt32BitsToSingle((*(uint*)pairs << shift) & 0xFFFF0000u);
}
