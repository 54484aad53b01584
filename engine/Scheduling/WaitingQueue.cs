using ScriptedServe.Contracts;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>Owns all that waits to be admitted: first come first served, each for a bounded time.</summary>
/// <param name="capacity">Entries that may wait.</param>
/// <param name="longestWait">How long one may wait.</param>
public sealed class WaitingQueue(TimeProvider time, int capacity, TimeSpan longestWait)
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
        if (_entries.Count >= capacity)
        {
            throw new RpcException(RpcStatus.ResourceExhausted, $"{_entries.Count} calls wait for KV pages or a seat, as many as --max-waiting allows", RetryAfter);
        }
    }

    /// <summary>Puts an item at the end, for which <see cref="EnsureRoom"/> was asked before.</summary>
    public void Enqueue(IWaiting item) => _entries.AddLast(new Entry(item, time.GetTimestamp()));

    /// <summary>Puts what was admitted before back in front.</summary>
    public void Requeue(IWaiting item) => _entries.AddFirst(new Entry(item, time.GetTimestamp()));

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
    public void Admit(Func<IWaiting, Admission> tryAdmit)
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
    }

    /// <summary>Takes out what has waited too long.</summary>
    /// <param name="refuse">Told of each, with the error to answer.</param>
    /// <returns>In how long to look again; null if nothing waits.</returns>
    public TimeSpan? Expire(Action<IWaiting, RpcException> refuse)
    {
        TimeSpan? next = null;
        for (var node = _entries.First; node is not null;)
        {
            var current = node;
            node = node.Next;
            if (!current.Value.Item.IsReady)
            {
                current.Value = current.Value with { Since = time.GetTimestamp() };
                continue;
            }

            var left = longestWait - time.GetElapsedTime(current.Value.Since);
            if (left > TimeSpan.Zero)
            {
                next = next is null || left < next ? left : next;
                continue;
            }

            _entries.Remove(current);
            refuse(current.Value.Item, new RpcException(
                RpcStatus.ResourceExhausted,
                $"No KV pages or no seat within --max-wait ({longestWait.TotalSeconds:0.###} s); {_entries.Count} others wait. More pages: --kv-memory, more seats: --max-sequences",
                RetryAfter));
        }

        return next;
    }

    private readonly record struct Entry(IWaiting Item, long Since);
}
