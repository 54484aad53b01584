using System.Globalization;
using System.Text;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Fakes;

/// <summary>
/// KV transport between engines of one test. What senders queue is copied when the test says so (<see cref="PumpOne"/>), at the last moment the
/// interface allows, so that pages given back or written too early are noticed; a revoke waits for a copy that the test left half done.
/// </summary>
internal sealed class FakeKvNetwork(TimeProvider time) : IKvSender
{
    private readonly Dictionary<string, FakeGrant> _grants = [];
    private readonly List<FakeSession> _sessions = [];
    private long _lastAddress;

    /// <summary>Copy and acknowledge at once, inside the calls.</summary>
    public bool Immediate { get; set; }

    /// <summary>Sessions that do nothing more: their sender or their receiver hangs.</summary>
    public Func<FakeSession, bool> Hangs { get; set; } = _ => false;

    /// <summary>Called when a reservation's pages are granted, and when its grant is revoked; may throw.</summary>
    public Action<string>? OnGrant { get; set; }

    public Action<string>? OnRevoke { get; set; }

    /// <summary>Bytes of KV copied.</summary>
    public long BytesCopied { get; private set; }

    /// <summary>Sessions that have something to do.</summary>
    public IReadOnlyList<FakeSession> Pending => _sessions.FindAll(session => session.HasWork && !Hangs(session));

    /// <summary>All that are open, oldest first.</summary>
    public IReadOnlyList<FakeSession> Sessions => _sessions;

    public IKvReceiver ReceiverOf(KvPool pool) => new FakeReceiver(this, pool);

    public IKvSender SenderOf(KvPool pool) => new FakeSender(this, pool);

    public Task<IKvSendSession> OpenAsync(ReadOnlyMemory<byte> address, CancellationToken cancellationToken) =>
        throw new NotSupportedException("Use the sender of a pool");

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    public void PumpAll()
    {
        while (Pending is { Count: > 0 } pending)
        {
            foreach (var session in pending)
            {
                PumpOne(session);
            }
        }
    }

    /// <summary>The process of a pool is gone: what it sent leaves the pages it was writing, and what is sent to it fails.</summary>
    public void Kill(KvPool pool)
    {
        foreach (var session in _sessions.ToList())
        {
            if (session.From == pool)
            {
                session.Close();
            }
        }

        foreach (var grant in _grants.Values)
        {
            grant.Dead |= grant.Of == pool;
        }
    }

    /// <summary>Does the next thing of a session: one copy, or its acknowledgement.</summary>
    public void PumpOne(FakeSession session) => BytesCopied += session.Pump();

    private FakeGrant Find(ReadOnlyMemory<byte> address) => _grants.TryGetValue(Encoding.UTF8.GetString(address.Span), out var grant)
        ? grant
        : throw new KvAddressException(KvFault.Forged, "The KV address is not one of this network");

    internal sealed class FakeReceiver(FakeKvNetwork network, KvPool pool) : IKvReceiver
    {
        public IKvGrant Grant(string reservationId, ReadOnlySpan<int> pages, int begin, int end, Action<IKvGrant>? arrived = null)
        {
            network.OnGrant?.Invoke(reservationId);
            var address = string.Create(CultureInfo.InvariantCulture, $"{reservationId}#{++network._lastAddress}");
            var grant = new FakeGrant(network, pool, reservationId, Encoding.UTF8.GetBytes(address), pages.ToArray(), begin, end, arrived);
            network._grants.Add(address, grant);
            if (begin == end)
            {
                grant.Commit(begin, end);
            }

            return grant;
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    internal sealed class FakeSender(FakeKvNetwork network, KvPool pool) : IKvSender
    {
        public Task<IKvSendSession> OpenAsync(ReadOnlyMemory<byte> address, CancellationToken cancellationToken)
        {
            var grant = network.Find(address);
            if (grant.Dead)
            {
                throw new KvTransportException(KvFault.Unreachable, $"The engine of reservation {grant.ReservationId} is gone");
            }

            if (grant.Revoked)
            {
                throw new KvTransportException(KvFault.Ended, $"Reservation {grant.ReservationId} has ended");
            }

            var session = new FakeSession(network, pool, grant);
            grant.Touch();
            network._sessions.Add(session);
            return Task.FromResult<IKvSendSession>(session);
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    internal sealed class FakeGrant(
        FakeKvNetwork network, KvPool pool, string reservationId, byte[] address, int[] pages, int begin, int end, Action<IKvGrant>? arrived) : IKvGrant
    {
        private readonly HashSet<int> _arrived = [];
        private readonly TaskCompletionSource _arrival = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _revoked = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public string ReservationId => reservationId;

        public ReadOnlyMemory<byte> Address => address;

        public int Begin => begin;

        public int End => end;

        public bool HasArrived { get; private set; }

        public int ArrivedTokens => _arrived.Count;

        public Task Arrival => _arrival.Task;

        public int Sessions => network._sessions.Count(session => session.Grant == this);

        public long LastUsed { get; private set; } = network.Time.GetTimestamp();

        public long SharedWrites { get; set; }

        public KvPool Of => pool;

        /// <summary>Its engine is gone.</summary>
        public bool Dead { get; set; }

        public bool Revoked { get; private set; }

        /// <summary>A sender that is within a copy: a revoke waits for it.</summary>
        public FakeSession? Writer { get; set; }

        public Task RevokeAsync()
        {
            network.OnRevoke?.Invoke(reservationId);
            Revoked = true;
            _ = _arrival.TrySetCanceled();
            if (Writer is null)
            {
                _revoked.TrySetResult();
            }

            return _revoked.Task;
        }

        public void Leave()
        {
            Writer = null;
            if (Revoked)
            {
                _revoked.TrySetResult();
            }
        }

        /// <summary>A head's keys (or values, behind all heads' keys) of a position.</summary>
        public Span<byte> Head(int layer, int position, int head) =>
            pool.Head(layer, pages[(position / pool.Layout.PageTokens) - (begin / pool.Layout.PageTokens)], position, head);

        public void Touch() => LastUsed = network.Time.GetTimestamp();

        public void Commit(int from, int to)
        {
            Touch();
            for (var position = from; position < to; position++)
            {
                _arrived.Add(position);
            }

            if (!HasArrived && !Revoked && _arrived.Count == end - begin)
            {
                HasArrived = true;
                arrived?.Invoke(this);
                _arrival.TrySetResult();
            }
        }
    }

    internal sealed class FakeSession(FakeKvNetwork network, KvPool pool, FakeGrant grant) : IKvSendSession
    {
        private readonly Queue<(int Layer, int[] Pages, int Begin, int End)> _queue = [];
        private TaskCompletionSource? _commit;
        private (int Begin, int End) _commitRange;
        private bool _halfway;

        public FakeGrant Grant => grant;

        public KvPool From => pool;

        public string Transport => "shm";

        public string ReservationId => grant.ReservationId;

        public int Begin => grant.Begin;

        public int End => grant.End;

        public long BytesSent { get; private set; }

        public KvTransportException? Failure { get; private set; }

        public bool HasWork => _queue.Count > 0 || _commit is not null;

        public void Send(int layer, ReadOnlySpan<int> pages, int begin, int end)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(begin, Begin);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(end, End);
            _queue.Enqueue((layer, pages.ToArray(), begin, end));
            Hurry();
        }

        public Task CommitAsync(int begin, int end, CancellationToken cancellationToken)
        {
            _commit = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _commitRange = (begin, end);
            var commit = _commit;
            cancellationToken.Register(() =>
            {
                _commit = null;
                commit.TrySetCanceled(cancellationToken);
            });
            Hurry();
            return commit.Task;
        }

        public ValueTask DisposeAsync()
        {
            Close();
            return ValueTask.CompletedTask;
        }

        /// <summary>Ends the session, or its process does: it writes nothing any more.</summary>
        public void Close()
        {
            _queue.Clear();
            _commit = null;
            _ = network._sessions.Remove(this);
            if (grant.Writer == this)
            {
                grant.Leave();
            }
        }

        /// <summary>A copy takes two calls: the writer is inside between them.</summary>
        public long Pump()
        {
            if (grant.Dead)
            {
                Failure ??= new KvTransportException(KvFault.Disconnected, $"The engine of reservation {grant.ReservationId} is gone");
            }

            if (Failure is null && _queue.TryPeek(out var send))
            {
                if (!_halfway && !grant.Revoked && (grant.Writer is null || grant.Writer == this))
                {
                    (_halfway, grant.Writer) = (true, this);
                    return 0;
                }

                if (_halfway)
                {
                    _ = _queue.Dequeue();
                    _halfway = false;
                    var bytes = grant.HasArrived ? 0 : Copy(send.Layer, send.Pages, send.Begin, send.End);
                    BytesSent += bytes;
                    grant.SharedWrites++;
                    grant.Leave();
                    return bytes;
                }

                if (grant.Revoked)
                {
                    Failure = new KvTransportException(KvFault.Ended, $"Reservation {grant.ReservationId} has ended");
                }

                return 0;
            }

            if (_commit is { } commit)
            {
                _commit = null;
                if (Failure is not null || grant.Revoked)
                {
                    commit.TrySetException(Failure ??= new KvTransportException(KvFault.Ended, $"Reservation {grant.ReservationId} has ended"));
                }
                else
                {
                    grant.Commit(_commitRange.Begin, _commitRange.End);
                    commit.TrySetResult();
                }
            }
            else
            {
                _queue.Clear();
            }

            return 0;
        }

        private void Hurry()
        {
            while (network.Immediate && HasWork && !network.Hangs(this))
            {
                network.PumpOne(this);
            }
        }

        private long Copy(int layer, int[] pages, int begin, int end)
        {
            var layout = pool.Layout;
            for (var position = begin; position < end; position++)
            {
                for (var head = 0; head < 2 * layout.KvHeads; head++)
                {
                    pool.Head(layer, pages[position / layout.PageTokens], position, head).CopyTo(grant.Head(layer, position, head));
                }
            }

            return (long)(end - begin) * 2 * layout.KvHeads * layout.HeadBytes;
        }
    }

    private TimeProvider Time => time;
}
