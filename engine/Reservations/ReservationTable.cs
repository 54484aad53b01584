using Google.Protobuf;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Reservations;

/// <summary>
/// Owns the reservations that hold pages. However one ends, (1) its grant is revoked, (2) when that has completed its pages are given back or to the generation
/// that consumes it, (3) it is forgotten. So no sender can write a page that has been given to someone else.
/// </summary>
/// <param name="idPrefix">Makes reservation ids differ between engines and starts of an engine.</param>
/// <param name="post">Runs an action on the core's thread, after what was posted before.</param>
/// <param name="reply">Runs an action once the books that it tells of are published.</param>
public sealed class ReservationTable(
    PrefixCache cache, IKvReceiver receiver, PageCopier copy, string idPrefix, Action<Action> post, Action<Action> reply, TimeProvider time)
{
    private readonly Dictionary<string, Reservation> _reservations = [];
    private long _lastId;

    public int Count => _reservations.Count;

    public IReadOnlyCollection<Reservation> All => _reservations.Values;

    /// <summary>A reservation that holds nothing yet; it is to be queued and admitted.</summary>
    public Reservation Create(string requestId, ReadOnlyMemory<int> tokens, int end, TimeSpan lease) =>
        new(ReservationIds.New(idPrefix, ++_lastId, tokens.Span[..end]), requestId, tokens, end, lease, new BlockTable(cache));

    /// <exception cref="RpcException">NOT_FOUND.</exception>
    public Reservation Find(string id) => _reservations.TryGetValue(id, out var reservation) && reservation.State != ReservationState.Closing
        ? reservation
        : throw new RpcException(RpcStatus.NotFound, $"No reservation '{id}': it was used, released or aborted, its lease ended, or it is another engine's");

    /// <summary>Pins what is cached of the range, takes pages for the rest and grants them to senders; or takes nothing.</summary>
    public Admission TryAdmit(Reservation reservation)
    {
        var (blocks, end) = (reservation.Blocks, reservation.End);
        var matched = blocks.Match(reservation.Tokens.Span);
        if (matched < end && !(blocks.TryMakeWritable(matched, copy) && blocks.TryExtend(end)))
        {
            blocks.Release();
            return Admission.NoPages;
        }

        reservation.MatchedTokens = matched;
        try
        {
            var first = matched / cache.PageTokens;
            reservation.Grant = receiver.Grant(
                reservation.Id,
                matched < end ? blocks.Snapshot().Span[first..] : [],
                matched,
                end,
                _ => post(() => OnArrived(reservation)));
        }
        catch (Exception e)
        {
            blocks.Release();
            Refuse(reservation, KvErrors.ToRpc(e, "PrepRecv"));
            return Admission.Admitted;
        }

        reservation.Advance(matched < end ? ReservationEvent.Granted : ReservationEvent.FullyMatched);
        _reservations.Add(reservation.Id, reservation);
        reservation.LeaseTimer = time.CreateTimer(_ => post(() => OnLeaseEnd(reservation)), null, reservation.Lease, Timeout.InfiniteTimeSpan);
        var prepared = new PrepRecvReply
        {
            ReservationId = reservation.Id,
            KvAddress = ByteString.CopyFrom(reservation.Grant.Address.Span),
            MatchedTokens = matched,
            End = end,
        };
        reply(() => reservation.Prepared.TrySetResult(prepared));
        return Admission.Admitted;
    }

    /// <summary>Ends a reservation that waits and holds nothing.</summary>
    public void Refuse(Reservation reservation, RpcException error)
    {
        reservation.Advance(ReservationEvent.End);
        reservation.Closed.TrySetResult();
        reply(() => reservation.Prepared.TrySetException(error));
    }

    /// <summary>Ends a reservation that holds pages. Ending it again does nothing.</summary>
    /// <param name="heir">Gets the block table once no sender can write it any more; without one the pages go back.</param>
    public void End(Reservation reservation, Action<BlockTable>? heir = null)
    {
        if (reservation.State is ReservationState.Closing or ReservationState.Ended)
        {
            return;
        }

        reservation.Advance(ReservationEvent.End);
        reservation.Heir = heir;
        reservation.LeaseTimer?.Dispose();
        var revoked = reservation.Grant!.RevokeAsync();
        if (revoked.IsCompletedSuccessfully)
        {
            OnRevoked(reservation);
        }
        else
        {
            _ = AwaitRevokeAsync(reservation, revoked);
        }
    }

    private async Task AwaitRevokeAsync(Reservation reservation, Task revoked)
    {
        try
        {
            await revoked;
        }
        catch (ObjectDisposedException)
        {
            // The transport was shut down while a sender still wrote: these pages are never given to anyone again.
            reservation.Closed.TrySetResult();
            return;
        }

        post(() => OnRevoked(reservation));
    }

    private void OnRevoked(Reservation reservation)
    {
        reservation.Advance(ReservationEvent.Revoked);
        _reservations.Remove(reservation.Id);
        if (reservation.Heir is { } heir)
        {
            heir(reservation.Blocks);
        }
        else
        {
            reservation.Blocks.Release();
        }

        reply(() => reservation.Closed.TrySetResult());
    }

    private static void OnArrived(Reservation reservation)
    {
        if (reservation.State == ReservationState.Open)
        {
            reservation.Advance(ReservationEvent.KvArrived);
            reservation.Blocks.Publish(reservation.Tokens.Span, withTail: true);
        }
    }

    private void OnLeaseEnd(Reservation reservation)
    {
        if (reservation.State is not (ReservationState.Open or ReservationState.Arrived))
        {
            return;
        }

        // Use renews the lease; a session that is open is use.
        var left = reservation.Grant!.Sessions > 0 ? reservation.Lease : reservation.Lease - time.GetElapsedTime(reservation.Grant.LastUsed);
        if (left > TimeSpan.Zero)
        {
            _ = reservation.LeaseTimer!.Change(left, Timeout.InfiniteTimeSpan);
        }
        else
        {
            End(reservation);
        }
    }
}
