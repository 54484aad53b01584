using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace ScriptedServe.Host.Admin;

/// <summary>Something an operator may want to know.</summary>
/// <param name="Id">Rises by one an event.</param>
/// <param name="Kind">Of the form <c>router.activated</c>, <c>engine.down</c>.</param>
/// <param name="Subject">What it happened to: <c>name@version</c>, an engine's id.</param>
/// <param name="Text">One line for a person.</param>
public sealed record HostEvent(long Id, DateTimeOffset Time, string Kind, string Subject, string Text);

/// <summary>Where parts of the host tell what happened.</summary>
public interface IHostEvents
{
    /// <summary>Never blocks and never fails.</summary>
    void Publish(string kind, string subject, string text);
}

/// <summary>
/// Hands events to all who listen. Bounded: a listener that falls behind loses its oldest events, which the gap in ids shows.
/// </summary>
/// <param name="capacity">Events kept for late listeners, and the most that wait for one listener.</param>
public sealed class HostEvents(TimeProvider time, int capacity = 256) : IHostEvents
{
    private readonly Lock _lock = new();
    private readonly Queue<HostEvent> _recent = new(capacity);
    private readonly List<Channel<HostEvent>> _listeners = [];
    private long _lastId;

    public void Publish(string kind, string subject, string text)
    {
        lock (_lock)
        {
            var happened = new HostEvent(++_lastId, time.GetUtcNow(), kind, subject, text);
            if (_recent.Count == capacity)
            {
                _recent.Dequeue();
            }

            _recent.Enqueue(happened);
            foreach (var listener in _listeners)
            {
                listener.Writer.TryWrite(happened);
            }
        }
    }

    /// <summary>Listens at once, before the first event is asked for.</summary>
    /// <param name="after">Kept events with a higher id come first; null means new events only.</param>
    /// <returns>Read once; it ends when cancelled.</returns>
    public IAsyncEnumerable<HostEvent> Listen(long? after, CancellationToken cancellationToken)
    {
        var channel = Channel.CreateBounded<HostEvent>(new BoundedChannelOptions(capacity) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
        lock (_lock)
        {
            foreach (var past in _recent.Where(past => past.Id > (after ?? long.MaxValue)))
            {
                channel.Writer.TryWrite(past);
            }

            _listeners.Add(channel);
        }

        return Read(channel, cancellationToken);
    }

    private async IAsyncEnumerable<HostEvent> Read(Channel<HostEvent> channel, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var happened in channel.Reader.ReadAllAsync(cancellationToken))
            {
                yield return happened;
            }
        }
        finally
        {
            lock (_lock)
            {
                _listeners.Remove(channel);
            }
        }
    }
}
