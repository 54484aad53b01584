namespace ScriptedServe.Host.Requests;

/// <summary>
/// The traces of requests that run and of the last that ended. Choices of one client request (<c>req-x</c>, <c>req-x-1</c>, …)
/// are found under the first one's id. Bounded: running ones are as many as there are; of ended ones the latest stay, as many as count
/// and memory allow. Thread-safe.
/// </summary>
public sealed class TraceStore(TraceSettings settings)
{
    private readonly Lock gate = new();
    private readonly Dictionary<string, List<RequestTrace>> byBase = new(StringComparer.Ordinal);
    private readonly LinkedList<RequestTrace> running = [];
    private readonly Dictionary<RequestTrace, LinkedListNode<RequestTrace>> nodes = [];
    private readonly Queue<(RequestTrace Trace, int Bytes)> ended = new();
    private long endedBytes;

    public TraceSettings Settings { get; } = settings;

    public int RunningCount
    {
        get
        {
            lock (gate)
            {
                return running.Count;
            }
        }
    }

    internal void Add(RequestTrace trace)
    {
        lock (gate)
        {
            nodes[trace] = running.AddLast(trace);
            var key = BaseId(trace.Id);
            if (!byBase.TryGetValue(key, out var choices))
            {
                byBase[key] = choices = [];
            }

            choices.Add(trace);
        }
    }

    /// <summary>Moves a trace from the running to the ended ones; the oldest ended ones past the bounds are forgotten.</summary>
    internal void Ended(RequestTrace trace)
    {
        lock (gate)
        {
            if (!nodes.Remove(trace, out var node))
            {
                return;
            }

            running.Remove(node);
            var bytes = trace.SizeBytes;
            ended.Enqueue((trace, bytes));
            endedBytes += bytes;
            while (ended.Count > Settings.Requests || endedBytes > Settings.Bytes)
            {
                var (oldest, freed) = ended.Dequeue();
                endedBytes -= freed;
                Forget_NeedsLock(oldest);
            }
        }
    }

    /// <summary>All choices of the request with this id, or the one choice if the id names one that is not the first; empty if unknown.</summary>
    public IReadOnlyList<RequestTrace> Find(string id)
    {
        lock (gate)
        {
            if (byBase.TryGetValue(id, out var choices))
            {
                return [.. choices];
            }

            return byBase.TryGetValue(BaseId(id), out choices) ? [.. choices.Where(trace => trace.Id == id)] : [];
        }
    }

    /// <summary>The latest requests, newest first: running ones, then ended ones.</summary>
    public IReadOnlyList<RequestTrace> Recent(int count)
    {
        lock (gate)
        {
            return [.. running.Reverse().Concat(ended.Reverse().Select(kept => kept.Trace)).Take(count)];
        }
    }

    /// <summary><c>req-x-2</c> is a choice of <c>req-x</c>; <c>req-x</c> is its own base.</summary>
    internal static string BaseId(string id)
    {
        var dash = id.LastIndexOf('-');
        return dash > id.IndexOf('-', StringComparison.Ordinal) && dash < id.Length - 1 && !id.AsSpan(dash + 1).ContainsAnyExceptInRange('0', '9')
            ? id[..dash]
            : id;
    }

    private void Forget_NeedsLock(RequestTrace trace)
    {
        var key = BaseId(trace.Id);
        if (byBase.TryGetValue(key, out var choices) && choices.Remove(trace) && choices.Count == 0)
        {
            byBase.Remove(key);
        }
    }
}
