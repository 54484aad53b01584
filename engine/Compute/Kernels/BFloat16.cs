namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>The upper half of an f32.</summary>
internal static class BFloat16
{
    private const uint Largest = 0x7f7f;
    private const uint Sign = 0x8000;

    /// <summary>The nearest bf16, ties to even; a finite value stays finite.</summary>
    public static ushort Round(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if (!float.IsFinite(value))
        {
            return (ushort)((bits >> 16) | (float.IsNaN(value) ? 0x40u : 0u));
        }

        uint rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
        return (ushort)(Math.Min(rounded & ~Sign, Largest) | (rounded & Sign));
    }

    public static float ToSingle(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}
