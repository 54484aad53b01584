using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// Cached keys and values of 16 bits: rounded to the nearest as they are stored, ties to even, and exact as they are read. Not-a-number stays not-a-number
/// and what is too large for f16 becomes infinite, so that neither passes for a number later. Integer arithmetic and single IEEE operations, so that
/// every machine stores and reads the same bits.
/// </summary>
internal static unsafe class KvElements
{
    private const uint Sign = 0x8000_0000;
    private const uint Infinity = 0x7f80_0000;

    /// <summary>Stores f32 values as elements of 16 bits.</summary>
    /// <param name="count">A multiple of 8.</param>
    public static void Narrow(KvDataType type, float* source, byte* destination, int count)
    {
        if (type == KvDataType.BFloat16)
        {
            NarrowBFloat16(source, (ushort*)destination, count);
        }
        else
        {
            NarrowFloat16(source, (ushort*)destination, count);
        }
    }

    /// <summary>Reads elements of 16 bits as f32.</summary>
    /// <param name="count">A multiple of 8.</param>
    public static void Widen(KvDataType type, byte* source, float* destination, int count)
    {
        if (type == KvDataType.BFloat16)
        {
            WidenBFloat16((ushort*)source, destination, count);
        }
        else
        {
            WidenFloat16((ushort*)source, destination, count);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WidenBFloat16(ushort* source, float* destination, int count)
    {
        for (int i = 0; i < count; i += VectorMath.Lanes)
        {
            (Load(source + i) << 16).AsSingle().Store(destination + i);
        }
    }

    /// <summary>
    /// Exponent and fraction moved to where f32 has them are 2^-112 of the value, of subnormal ones too; a multiplication puts that right without rounding.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WidenFloat16(ushort* source, float* destination, int count)
    {
        var scale = Vector256.Create((127u + 112) << 23).AsSingle();
        for (int i = 0; i < count; i += VectorMath.Lanes)
        {
            var bits = Load(source + i);
            var size = (bits & Vector256.Create(0x7fffu)) << 13;
            var notFinite = Vector256.GreaterThan(size.AsInt32(), Vector256.Create(0x7bff << 13)).AsUInt32() & Vector256.Create(Infinity);
            var value = (size.AsSingle() * scale).AsUInt32() | notFinite | ((bits & Vector256.Create(0x8000u)) << 16);
            value.AsSingle().Store(destination + i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void NarrowBFloat16(float* source, ushort* destination, int count)
    {
        for (int i = 0; i < count; i += VectorMath.Lanes)
        {
            var bits = Vector256.Load((uint*)source + i);
            var upper = bits >>> 16;
            var rounded = (bits + Vector256.Create(0x7fffu) + (upper & Vector256<uint>.One)) >>> 16;
            Store(Vector256.ConditionalSelect(IsNaN(bits & ~Vector256.Create(Sign)), upper | Vector256.Create(0x40u), rounded), destination + i);
        }
    }

    /// <summary>
    /// The exponent is moved by an addition that rounds the fraction on its way. Below the smallest normal f16, adding 0.5 in f32 rounds to the step of
    /// subnormal ones, 2^-24, and leaves their bits at the end of the sum's.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void NarrowFloat16(float* source, ushort* destination, int count)
    {
        const uint FirstTooLarge = (127 + 16) << 23;
        const uint FirstNormal = (127 - 14) << 23;
        const uint Half = 126 << 23;
        for (int i = 0; i < count; i += VectorMath.Lanes)
        {
            var bits = Vector256.Load((uint*)source + i);
            var size = bits & ~Vector256.Create(Sign);
            var odd = (size >>> 13) & Vector256<uint>.One;
            var normal = (size - Vector256.Create(112u << 23) + Vector256.Create(0xfffu) + odd) >>> 13;
            var subnormal = (size.AsSingle() + Vector256.Create(0.5f)).AsUInt32() - Vector256.Create(Half);
            var tooLarge = Vector256.ConditionalSelect(IsNaN(size), Vector256.Create(0x7e00u), Vector256.Create(0x7c00u));
            var rounded = Vector256.ConditionalSelect(LessThan(size, FirstNormal), subnormal, normal);
            rounded = Vector256.ConditionalSelect(LessThan(size, FirstTooLarge), rounded, tooLarge);
            Store(rounded | ((bits & Vector256.Create(Sign)) >>> 16), destination + i);
        }
    }

    // Without the sign bit unsigned and signed order are one, and the signed comparison is a single instruction.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> IsNaN(Vector256<uint> size) => Vector256.GreaterThan(size.AsInt32(), Vector256.Create((int)Infinity)).AsUInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> LessThan(Vector256<uint> size, uint limit) => Vector256.LessThan(size.AsInt32(), Vector256.Create((int)limit)).AsUInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> Load(ushort* source) => Vector256.WidenLower(Vector128.Load(source).ToVector256Unsafe());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector256<uint> value, ushort* destination) => Vector128.Narrow(value.GetLower(), value.GetUpper()).Store(destination);
}
