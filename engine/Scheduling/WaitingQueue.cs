using ScriptedServe.Contracts;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>Owns all that waits to be admitted: first come first served, each for a bounded time.</summary>
/// <param name="limits">How many may wait, and how long.</param>
public sealed class WaitingQueue(TimeProvider time, EngineLimits limits)
{
    private static readonly TimeSpan RetryAfter = TimeSpan.FromSeconds(1);

    private readonly LinkedList<Entry> _entries = [];

    public int Count => _entries.Count;

    /// <summary>Something waits that would go on if it could be admitted.</summary>
    public bool HasReady => _entries.Any(entry => entry.Item.IsReady);

    public IEnumerable<IWaiting> Items => _entries.Select(entry => entry.Item);

    /// <exception cref="RpcException">RESOURCE_EXHAUSTED: the queue is full.</exception>
    public void EnsureRoom()
    {
        var waiting = _entries.Count(entry => !entry.Item.IsPaused);
        if (waiting >= limits.MaxWaiting)
        {
            throw new RpcException(RpcStatus.ResourceExhausted, $"{waiting} calls wait for KV pages or a seat, as many as --max-waiting allows", RetryAfter);
        }
    }

    /// <summary>Puts an item at the end, for which <see cref="EnsureRoom"/> was asked before.</summary>
    public void Enqueue(IWaiting item) => _entries.AddLast(NewEntry(item));

    /// <summary>Puts what was admitted before back in front.</summary>
    public void Requeue(IWaiting item) => _entries.AddFirst(NewEntry(item));

    /// <returns>False if it does not wait here.</returns>
    public bool Remove(IWaiting item)
    {
        for (var node = _entries.First; node is not null; node = node.Next)
        {
            if (ReferenceEquals(node.Value.Item, item))
            {
                _entries.Remove(node);
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// Takes out what can be admitted, in order. Once one found no seat, or no pages, those behind it that need the same are not tried; one
    /// that holds pages is, since the others may be waiting for these.
    /// </summary>
    /// <param name="tryAdmit">Takes what the item needs, or takes nothing.</param>
    /// <param name="failed">Told of an item whose admission threw; it does not wait any more.</param>
    public void Admit(Func<IWaiting, Admission> tryAdmit, Action<IWaiting, Exception> failed)
    {
        var (seats, pages) = (true, true);
        for (var node = _entries.First; node is not null;)
        {
            var (current, item) = (node, node.Value.Item);
            node = node.Next;
            if (!item.IsReady || (!pages && !item.HoldsPages) || (!seats && item.NeedsSeat))
            {
                continue;
            }

            try
            {
                switch (tryAdmit(item))
                {
                    case Admission.Admitted:
                        _entries.Remove(current);
                        break;
                    case Admission.NoSeat:
                        seats = false;
                        break;
                    case Admission.NoPages:
                        pages = false;
                        break;
                }
            }
            catch (Exception e)
            {
                // One that always fails would otherwise end the engine, and all others with it.
                _entries.Remove(current);
                failed(item, e);
            }
        }
    }

    /// <summary>Takes out what has waited too long, and of what is paused the oldest that are more than may wait.</summary>
    /// <param name="refuse">Told of each, with the error to answer.</param>
    /// <returns>In how long to look again; null if nothing waits.</returns>
    public TimeSpan? Expire(Action<IWaiting, RpcException> refuse)
    {
        if (_entries.Count == 0)
        {
            return null;
        }

        var (now, paused, next) = (time.GetTimestamp(), 0, (TimeSpan?)null);
        for (var node = _entries.First; node is not null;)
        {
            var current = node;
            node = node.Next;
            var item = current.Value.Item;
            if (item.IsPaused != current.Value.Paused)
            {
                current.Value = new Entry(item, item.IsPaused, now);
            }

            // Those in front were preempted last.
            paused += item.IsPaused ? 1 : 0;
            var left = (item.IsPaused ? limits.MaxUnread : limits.MaxWait) - time.GetElapsedTime(current.Value.Since, now);
            if (left > TimeSpan.Zero && !(item.IsPaused && paused > limits.MaxWaiting))
            {
                next = next is null || left < next ? left : next;
                continue;
            }

            _entries.Remove(current);
            refuse(item, Late(item.IsPaused, left <= TimeSpan.Zero));
        }

        return next;
    }

    private Entry NewEntry(IWaiting item) => new(item, item.IsPaused, time.GetTimestamp());

    private RpcException Late(bool paused, bool late) => new(
        RpcStatus.ResourceExhausted,
        (paused, late) switch
        {
            (false, _) => $"No KV pages or no seat within --max-wait ({limits.MaxWait.TotalSeconds:0.###} s); {_entries.Count} others wait. More pages: --kv-memory, more seats: --max-sequences",
            (true, true) => $"Its caller has read nothing for --max-unread ({limits.MaxUnread.TotalSeconds:0.###} s)",
            (true, false) => $"Its caller reads nothing, and {limits.MaxWaiting} others that are not read wait, as many as --max-waiting allows",
        },
        RetryAfter);

    /// <param name="Since">When it began to wait as it does now: for pages or a seat, or for its caller.</param>
    private readonly record struct Entry(IWaiting Item, bool Paused, long Since);
}
