namespace ScriptedServe.Scripting;

/// <summary>
/// Lets a limited number of requests in at a time; the others wait, and the lowest order goes first. Keep it in State: then it goes on over
/// a swap. A priority is an order; so is a tenant's share of the work so far. Thread-safe.
/// </summary>
public sealed class AdmissionQueue
{
    private readonly Lock gate = new();
    private readonly PriorityQueue<Waiter, (double Order, long Arrival)> line = new();
    private int limit;
    private int waiting;
    private int admitted;
    private long arrivals;
    private double lastOrder;

    /// <summary>Creates a queue that lets nobody wait until <paramref name="limit"/> are in.</summary>
    /// <param name="limit">Requests inside at a time, at least 1.</param>
    public AdmissionQueue(int limit)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        this.limit = limit;
    }

    /// <summary>Requests inside at a time, at least 1. May be changed at any time; lowered, it turns nobody out.</summary>
    public int Limit
    {
        get => Volatile.Read(ref limit);
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            lock (gate)
            {
                limit = value;
                Admit_NeedsLock();
            }
        }
    }

    /// <summary>Requests inside.</summary>
    public int Admitted => Volatile.Read(ref admitted);

    /// <summary>Requests that wait.</summary>
    public int Waiting => Volatile.Read(ref waiting);

    /// <summary>The order of the request that was let in last; 0 before any.</summary>
    public double LastOrder
    {
        get
        {
            lock (gate)
            {
                return lastOrder;
            }
        }
    }

    /// <summary>Waits until the request is let in; at once if there is room. A request that ends while it waits gives up its place.</summary>
    /// <param name="request">The request being routed.</param>
    /// <param name="order">Lower goes first; equals in the order they came.</param>
    /// <returns>The place inside. Dispose it when the work is done; the request's end does so too.</returns>
    /// <exception cref="OperationCanceledException">The request ended.</exception>
    public async Task<IDisposable> Enter(Request request, double order = 0)
    {
        ArgumentNullException.ThrowIfNull(request);
        if (double.IsNaN(order))
        {
            throw new ArgumentOutOfRangeException(nameof(order), "The order is not a number.");
        }

        var waiter = new Waiter(this);
        lock (gate)
        {
            waiting++;
            line.Enqueue(waiter, (order, arrivals++));
            Admit_NeedsLock();
        }

        waiter.EndsWith(request.Cancelled);
        await waiter.In.Task;
        return waiter;
    }

    private void Admit_NeedsLock()
    {
        while (admitted < limit && line.TryDequeue(out var next, out var priority))
        {
            next.State = Place.Inside;
            waiting--;
            admitted++;
            lastOrder = priority.Order;
            next.In.TrySetResult();
        }
    }

    private void Leave(Waiter waiter, CancellationToken ended)
    {
        lock (gate)
        {
            if (waiter.State == Place.Waiting)
            {
                line.Remove(waiter, out _, out _);
                waiting--;
                waiter.In.TrySetCanceled(ended);
            }
            else if (waiter.State == Place.Inside)
            {
                admitted--;
            }

            waiter.State = Place.Left;
            Admit_NeedsLock();
        }
    }

    private enum Place
    {
        Waiting,
        Inside,
        Left,
    }

    private sealed class Waiter(AdmissionQueue queue) : IDisposable
    {
        private CancellationTokenRegistration ending;

        /// <summary>Under the queue's lock.</summary>
        public Place State { get; set; }

        public TaskCompletionSource In { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void EndsWith(CancellationToken request) =>
            ending = request.UnsafeRegister(static (waiter, ended) => ((Waiter)waiter!).Leave(ended), this);

        public void Dispose()
        {
            // Unregister and not Dispose, which would wait for a running callback.
            ending.Unregister();
            Leave(default);
        }

        private void Leave(CancellationToken ended) => queue.Leave(this, ended);
    }
}
