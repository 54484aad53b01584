using System.Numerics;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>The size that a recorded step is made for: powers of two, so that a few recordings serve all sizes below.</summary>
/// <param name="Rows">Sequences that decode a token each.</param>
/// <param name="Units">Units of positions that they attend to together.</param>
/// <param name="Samples">Tokens are chosen.</param>
internal readonly record struct StepBucket(int Rows, int Units, bool Samples)
{
    /// <summary>The smallest that holds so many rows and units.</summary>
    public static StepBucket For(int rows, int units, int maxRows, bool samples) =>
        new(Math.Min(maxRows, (int)BitOperations.RoundUpToPowerOf2((uint)rows)), (int)BitOperations.RoundUpToPowerOf2((uint)units), samples);
}

/// <summary>Steps recorded once for each bucket and replayed from then on. They name addresses: for another pool all are recorded anew.</summary>
internal sealed class StepGraphs(IGpu gpu) : IDisposable
{
    private const int LaunchesOfLayer = 24, LaunchesBesides = 16, BytesOfLaunch = 2048;

    private readonly Dictionary<StepBucket, IDisposable> _graphs = [];
    private nint _recordedFor;

    /// <param name="pool">Where the pool is that <paramref name="launches"/> name.</param>
    public void Run(StepBucket bucket, nint pool, Action launches)
    {
        if (pool != _recordedFor)
        {
            if (_graphs.Count > 0)
            {
                // A step under way may be one of them.
                gpu.Wait();
            }

            Clear();
            _recordedFor = pool;
        }

        if (!_graphs.TryGetValue(bucket, out var graph))
        {
            _graphs.Add(bucket, graph = gpu.Capture(launches));
        }

        gpu.Replay(graph);
    }

    /// <summary>Bytes that a driver may take for all recordings that there can be: a few kilobytes for each launch.</summary>
    public static long BytesFor(StepLimits limits, int layers)
    {
        int sizes = BitOperations.Log2((uint)limits.Sequences) + 1, units = BitOperations.Log2((uint)limits.Units) + 1;
        return (long)sizes * units * MostLaunches(layers) * BytesOfLaunch;
    }

    /// <summary>Of one recording.</summary>
    public static int MostLaunches(int layers) => LaunchesOfLayer * layers + LaunchesBesides;

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
