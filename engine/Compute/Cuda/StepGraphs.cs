using System.Numerics;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>The size that a recorded step is made for: powers of two, so that a few recordings serve all sizes below.</summary>
/// <param name="Rows">Sequences that decode a token each.</param>
/// <param name="Splits">Splits of the KV of the longest of them.</param>
internal readonly record struct StepBucket(int Rows, int Splits)
{
    /// <summary>The smallest that holds so many rows and splits.</summary>
    public static StepBucket For(int rows, int splits, int maxRows) =>
        new(Math.Min(maxRows, (int)BitOperations.RoundUpToPowerOf2((uint)rows)), (int)BitOperations.RoundUpToPowerOf2((uint)splits));
}

/// <summary>Steps recorded once for each bucket and replayed from then on. They name addresses: when memory moves, all are recorded anew.</summary>
internal sealed class StepGraphs(IGpu gpu) : IDisposable
{
    private readonly Dictionary<StepBucket, IDisposable> _graphs = [];
    private (nint Pool, int Generation) _recordedFor;

    /// <param name="memory">Changes whenever something that <paramref name="launches"/> names has moved.</param>
    public void Run(StepBucket bucket, (nint Pool, int Generation) memory, Action launches)
    {
        if (memory != _recordedFor)
        {
            Clear();
            _recordedFor = memory;
        }

        if (!_graphs.TryGetValue(bucket, out var graph))
        {
            _graphs.Add(bucket, graph = gpu.Capture(launches));
        }

        gpu.Replay(graph);
    }

    public void Dispose() => Clear();

    private void Clear()
    {
        foreach (var graph in _graphs.Values)
        {
            graph.Dispose();
        }

        _graphs.Clear();
    }
}
