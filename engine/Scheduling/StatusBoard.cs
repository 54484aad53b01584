using System.Threading.Channels;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>One WatchStatus call. <see cref="Changed"/> has an item when there is something new to ask the board for.</summary>
public sealed class StatusWatch
{
    internal StatusWatch(CacheJournal journal) => Journal = journal;

    internal CacheJournal Journal { get; }

    internal LoadFigures? Told { get; set; }

    internal Channel<bool> Signal { get; } = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    public ChannelReader<bool> Changed => Signal.Reader;

    /// <summary>Completes when the engine ends: one last status may be asked for, and there is nothing to wait for any more.</summary>
    public Task Ended => End.Task;

    internal TaskCompletionSource End { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}

/// <summary>
/// What the engine tells about itself. The core publishes figures after each step; anyone may make a status of them, so that even a long step does not
/// delay an answer and a step makes none. Watches belong to the core's thread.
/// </summary>
/// <param name="identity">All that does not change.</param>
public sealed class StatusBoard(EngineStatus identity, PrefixCache cache) : IDisposable
{
    private readonly EngineStatus _identity = identity;
    private readonly List<StatusWatch> _watches = [];
    private readonly Lock _gate = new();
    private EngineState _state;
    private LoadFigures _load;
    private bool _ended;

    /// <summary>The last published status, without cache events.</summary>
    public EngineStatus Current => Status(out _);

    public void Publish(EngineState state, in LoadFigures load)
    {
        lock (_gate)
        {
            (_state, _load) = (state, load);
        }

        foreach (var watch in _watches)
        {
            if (!watch.Journal.IsEmpty || load != watch.Told)
            {
                _ = watch.Signal.Writer.TryWrite(true);
            }
        }
    }

    public void OnCacheChange(ulong hash, bool stored)
    {
        foreach (var watch in _watches)
        {
            watch.Journal.Add(hash, stored);
        }
    }

    public StatusWatch Watch()
    {
        var watch = new StatusWatch(new CacheJournal(cache, (4 * cache.Pages.Total) + 1024));
        _ = watch.Signal.Writer.TryWrite(true);
        _watches.Add(watch);
        if (_ended)
        {
            EndWatches();
        }

        return watch;
    }

    public void Unwatch(StatusWatch watch) => _watches.Remove(watch);

    /// <summary>The current status and what the watch has not been told of the cache.</summary>
    public EngineStatus Take(StatusWatch watch)
    {
        var status = Status(out var load);
        watch.Told = load;
        if (watch.Journal.Take() is { } changes)
        {
            status.CacheEvents.Add(changes);
        }

        return status;
    }

    /// <summary>Ends all watches, those to come too, each after one more status.</summary>
    public void EndWatches()
    {
        _ended = true;
        foreach (var watch in _watches)
        {
            _ = watch.Signal.Writer.TryWrite(true);
            _ = watch.Signal.Writer.TryComplete();
            _ = watch.End.TrySetResult();
        }
    }

    public void Dispose() => EndWatches();

    private EngineStatus Status(out LoadFigures load)
    {
        var status = _identity.Clone();
        lock (_gate)
        {
            (status.State, load) = (_state, _load);
        }

        status.Load = load.ToMessage();
        return status;
    }
}
