using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>Sines and cosines of one rotation for the rows of a step.</summary>
internal sealed unsafe class RopeTable : IDisposable
{
    private readonly double[] _frequencies;
    private readonly double[] _longFrequencies;
    private readonly double _magnitude;
    private readonly NativeBuffer _cos;
    private readonly NativeBuffer _sin;

    public RopeTable(RopeConfig rope, int maxRows)
    {
        _frequencies = [.. rope.For(longContext: false)];
        _longFrequencies = [.. rope.For(longContext: true)];
        _magnitude = rope.Magnitude;
        Pairs = rope.Frequencies.Count;
        _cos = NativeBuffer.OfFloats((long)maxRows * Pairs);
        _sin = NativeBuffer.OfFloats((long)maxRows * Pairs);
    }

    /// <summary>Rotated pairs of a head.</summary>
    public int Pairs { get; }

    /// <summary>[pairs] of a row.</summary>
    public float* Cos(int row) => _cos.Floats + (nint)row * Pairs;

    /// <summary>[pairs] of a row.</summary>
    public float* Sin(int row) => _sin.Floats + (nint)row * Pairs;

    public void Fill(int row, int position, bool longContext)
    {
        double[] frequencies = longContext ? _longFrequencies : _frequencies;
        for (int pair = 0; pair < Pairs; pair++)
        {
            var (sin, cos) = Math.SinCos(position * frequencies[pair]);
            Cos(row)[pair] = (float)(cos * _magnitude);
            Sin(row)[pair] = (float)(sin * _magnitude);
        }
    }

    public void Dispose()
    {
        _cos.Dispose();
        _sin.Dispose();
    }
}
