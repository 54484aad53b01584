using Google.Protobuf;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Reservations;

/// <summary>
/// Owns the reservations that hold pages. However one ends, (1) its grant is revoked, (2) when that has completed its pages are given back or to the generation
/// that consumes it, (3) it is forgotten. So no sender can write a page that has been given to someone else; should a revoke fail, its pages are never given to anyone.
/// The core's thread alone touches it.
/// </summary>
/// <param name="idPrefix">Makes reservation ids differ between engines and starts of an engine.</param>
/// <param name="shortContext">The model's.</param>
/// <param name="longest">How long a reservation lives with all renewals of its lease.</param>
/// <param name="post">Runs an action on the core's thread, after what was posted before.</param>
public sealed class ReservationTable(
    PrefixCache cache, IKvReceiver receiver, PageCopier copy, string idPrefix, int shortContext, TimeSpan longest, Action<Action> post, ReplyQueue replies, TimeProvider time)
{
    private readonly Dictionary<string, Reservation> _reservations = [];
    private readonly HashSet<int> _lost = [];
    private long _lastId;

    public int Count => _reservations.Count;

    public IReadOnlyCollection<Reservation> All => _reservations.Values;

    /// <summary>Pages that stay held for good, since it is not known that their senders have stopped.</summary>
    public int LostPages => _lost.Count;

    /// <summary>A reservation that holds nothing yet; it is to be queued and admitted.</summary>
    public Reservation Create(string requestId, ReadOnlyMemory<int> tokens, int end, TimeSpan lease)
    {
        var longContext = tokens.Length > shortContext;
        var id = ReservationIds.New(idPrefix, ++_lastId, tokens.Span[..end], longContext);
        return new Reservation(id, requestId, tokens, end, lease, new BlockTable(cache, longContext));
    }

    /// <exception cref="RpcException">NOT_FOUND.</exception>
    public Reservation Find(string id) => _reservations.TryGetValue(id, out var reservation) && reservation.State != ReservationState.Closing
        ? reservation
        : throw new RpcException(RpcStatus.NotFound, $"No reservation '{id}': it was used, released or aborted, its lease ended, or it is another engine's");

    /// <summary>The reservation that a generation is to take over.</summary>
    /// <param name="tokens">The generation's; they begin with those reserved for.</param>
    /// <param name="begin">Tokens whose KV must be here; null for all that is.</param>
    /// <exception cref="RpcException">NOT_FOUND; FAILED_PRECONDITION: it is for other tokens, or less of it has arrived.</exception>
    public Reservation Find(string id, ReadOnlySpan<int> tokens, int? begin)
    {
        var reservation = Find(id);
        if (tokens.Length < reservation.End || !tokens[..reservation.End].SequenceEqual(reservation.Tokens.Span))
        {
            throw new RpcException(RpcStatus.FailedPrecondition, $"Reservation '{id}' is for other tokens than these: its {reservation.End} tokens are not how token_ids begins");
        }

        var wanted = begin ?? reservation.End;
        return wanted <= reservation.CoveredTokens ? reservation : throw new RpcException(
            RpcStatus.FailedPrecondition,
            $"begin is {wanted}, but reservation '{id}' has the KV of {reservation.CoveredTokens} tokens"
            + (reservation.State == ReservationState.Arrived ? "" : $" ({reservation.Grant!.ArrivedTokens} of {reservation.End - reservation.MatchedTokens} more have arrived)"));
    }

    /// <summary>Pins what is cached of the range, takes pages for the rest and grants them to senders; or takes nothing. One that fails is answered here.</summary>
    public Admission TryAdmit(Reservation reservation)
    {
        try
        {
            var matched = reservation.Blocks.Match(reservation.Tokens.Span);
            if (matched < reservation.End && !reservation.Blocks.TryMakeRoom(matched, reservation.End, copy))
            {
                reservation.Blocks.Release();
                return Admission.NoPages;
            }

            Open(reservation, matched);
        }
        catch (Exception e)
        {
            var error = KvErrors.ToRpc(e, "PrepRecv");
            if (reservation.Grant is null)
            {
                reservation.Blocks.Release();
                Refuse(reservation, error);
            }
            else
            {
                End(reservation);
                replies.Add(() => reservation.Prepared.TrySetException(error));
            }
        }

        return Admission.Admitted;
    }

    /// <summary>Ends a reservation that waits and holds nothing.</summary>
    public void Refuse(Reservation reservation, RpcException error)
    {
        reservation.Advance(ReservationEvent.End);
        reservation.Closed.TrySetResult();
        replies.Add(() => reservation.Prepared.TrySetException(error));
    }

    /// <summary>Ends a reservation that holds pages. Ending it again does nothing.</summary>
    /// <param name="heir">Gets the block table once no sender can write it any more, or null if that cannot be had; without an heir the pages go back.</param>
    public void End(Reservation reservation, Action<BlockTable?>? heir = null)
    {
        if (reservation.State is ReservationState.Closing or ReservationState.Ended)
        {
            return;
        }

        reservation.Advance(ReservationEvent.End);
        reservation.Heir = heir;
        reservation.LeaseTimer?.Dispose();
        var revoked = RevokeAsync(reservation.Grant!);
        if (revoked.IsCompleted)
        {
            OnRevoked(reservation, revoked);
        }
        else
        {
            _ = AwaitRevokeAsync(reservation, revoked);
        }
    }

    private void Open(Reservation reservation, int matched)
    {
        var end = reservation.End;
        var grant = receiver.Grant(
            reservation.Id,
            matched < end ? reservation.Blocks.Pages.Span[(matched / cache.PageTokens)..] : [],
            matched,
            end,
            _ => post(() => OnArrived(reservation)));
        (reservation.Grant, reservation.MatchedTokens) = (grant, matched);
        reservation.Advance(matched < end ? ReservationEvent.Granted : ReservationEvent.FullyMatched);
        _reservations.Add(reservation.Id, reservation);
        (reservation.Held, reservation.SharedWrites) = (time.GetTimestamp(), grant.SharedWrites);
        reservation.LeaseTimer = time.CreateTimer(_ => post(() => OnLeaseEnd(reservation)), null, reservation.Lease, Timeout.InfiniteTimeSpan);
        var prepared = new PrepRecvReply
        {
            ReservationId = reservation.Id,
            KvAddress = ByteString.CopyFrom(grant.Address.Span),
            MatchedTokens = matched,
            End = end,
        };
        replies.Add(() => reservation.Prepared.TrySetResult(prepared));
    }

    private static Task RevokeAsync(IKvGrant grant)
    {
        try
        {
            return grant.RevokeAsync();
        }
        catch (Exception e)
        {
            return Task.FromException(e);
        }
    }

    private async Task AwaitRevokeAsync(Reservation reservation, Task revoked)
    {
        await revoked.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        if (!revoked.IsCompletedSuccessfully)
        {
            // As when the transport was shut down while a sender still wrote; then nobody may drive the core any more.
            reservation.Closed.TrySetResult();
        }

        post(() => OnRevoked(reservation, revoked));
    }

    private void OnRevoked(Reservation reservation, Task revoked)
    {
        reservation.Advance(ReservationEvent.Revoked);
        _reservations.Remove(reservation.Id);
        var safe = revoked.IsCompletedSuccessfully;
        if (!safe)
        {
            _lost.UnionWith(reservation.Blocks.Pages.Span.ToArray());
        }

        if (reservation.Heir is { } heir)
        {
            heir(safe ? reservation.Blocks : null);
        }
        else if (safe)
        {
            reservation.Blocks.Release();
        }

        replies.Add(() => reservation.Closed.TrySetResult());
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

        try
        {
            var left = LeaseLeft(reservation);
            if (left > TimeSpan.Zero)
            {
                _ = reservation.LeaseTimer!.Change(left, Timeout.InfiniteTimeSpan);
                return;
            }
        }
        catch (Exception)
        {
            // Better to end a reservation than never to look at it again.
        }

        End(reservation);
    }

    /// <summary>
    /// Use renews the lease: KV written or committed, not a session that is merely open, whose sender may be stuck. Senders of this machine leave a count of their
    /// writes and not a time: where it has grown, the lease begins anew now.
    /// </summary>
    private TimeSpan LeaseLeft(Reservation reservation)
    {
        var grant = reservation.Grant!;
        var (writes, before) = (grant.SharedWrites, reservation.SharedWrites);
        reservation.SharedWrites = writes;
        var lease = reservation.Lease - (writes != before ? TimeSpan.Zero : time.GetElapsedTime(grant.LastUsed));
        var most = longest - time.GetElapsedTime(reservation.Held);
        return lease < most ? lease : most;
    }
}
