using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Kv;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Reservations;

/// <summary>
/// KV pages held for tokens[0, <see cref="End"/>) of a prompt, to be written by senders where this engine has not cached them. The core's thread alone
/// touches it.
/// </summary>
public sealed class Reservation(string id, string requestId, ReadOnlyMemory<int> tokens, int end, TimeSpan lease, BlockTable blocks) : IWaiting
{
    public string Id { get; } = id;

    public string RequestId { get; } = requestId;

    /// <summary>The tokens reserved for.</summary>
    public ReadOnlyMemory<int> Tokens { get; } = tokens[..end];

    public int End { get; } = end;

    public TimeSpan Lease { get; } = lease;

    public ReservationState State { get; private set; } = ReservationState.Waiting;

    public int MatchedTokens { get; internal set; }

    /// <summary>Leading tokens whose KV is here.</summary>
    public int CoveredTokens => State == ReservationState.Arrived ? End : MatchedTokens;

    public bool NeedsSeat => false;

    public bool HoldsPages => false;

    public bool IsReady => true;

    public bool IsPaused => false;

    public int QueuedTokens => 0;

    internal BlockTable Blocks { get; } = blocks;

    internal IKvGrant? Grant { get; set; }

    internal ITimer? LeaseTimer { get; set; }

    /// <summary>Timestamp of the admission.</summary>
    internal long Held { get; set; }

    /// <summary>What <see cref="IKvGrant.SharedWrites"/> was when the lease last began.</summary>
    internal long SharedWrites { get; set; }

    /// <summary>Answers PrepRecv, once the pages are held or there are none to be had.</summary>
    internal TaskCompletionSource<PrepRecvReply> Prepared { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes when the reservation holds nothing any more.</summary>
    internal TaskCompletionSource Closed { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Gets the pages when the grant is revoked, or null if they cannot be had; without an heir they go back.</summary>
    internal Action<BlockTable?>? Heir { get; set; }

    internal void Advance(ReservationEvent happened) => State = State.Next(happened);
}
