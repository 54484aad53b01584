namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>
/// The streams for which something came in one read. An engine's step answers all of its sequences at once: a turn of several streams runs on one
/// thread, which costs no hop a token, and what is more than a turn goes to other threads, which keeps the last stream from waiting for all before it.
/// </summary>
internal sealed class TurnList
{
    private const int StreamsPerTurn = 16;

    private readonly List<Http2Stream> _streams = [];

    public void Add(Http2Stream stream)
    {
        if (!stream.IsToBeTold)
        {
            stream.IsToBeTold = true;
            _streams.Add(stream);
        }
    }

    /// <summary>Tells all of them, the last turn on this thread.</summary>
    public void Run()
    {
        var from = 0;
        for (; _streams.Count - from > StreamsPerTurn; from += StreamsPerTurn)
        {
            ThreadPool.UnsafeQueueUserWorkItem(new Turn(_streams.GetRange(from, StreamsPerTurn)), preferLocal: false);
        }

        // Waiting streams may be told again as soon as they are off the list.
        var last = from == 0 && _streams.Count == 1 ? _streams[0] : null;
        var own = last is null && _streams.Count > from ? _streams.GetRange(from, _streams.Count - from) : null;
        foreach (var stream in _streams)
        {
            stream.IsToBeTold = false;
        }

        _streams.Clear();
        last?.Tell();
        own?.ForEach(static stream => stream.Tell());
    }

    private sealed class Turn(List<Http2Stream> streams) : IThreadPoolWorkItem
    {
        public void Execute() => streams.ForEach(static stream => stream.Tell());
    }
}
