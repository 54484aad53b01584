using Google.Protobuf;
using ScriptedServe.Contracts;
using ScriptedServe.Host.Requests;
using ScriptedServe.Scripting;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>A reservation that an engine answered to PrepRecv. Owned by the request's scope until it is used or released.</summary>
internal sealed class HostReservation : KvReservation, IRequestHold
{
    private readonly HostEngine engine;
    private readonly WorkInFlight.Ticket work;
    private int ended;

    /// <param name="work">Counts on the engine as long as the reservation waits to be used.</param>
    public HostReservation(HostEngine engine, EngineConnection connection, HostRequest request, Wire.PrepRecvReply reply, WorkInFlight.Ticket work)
    {
        this.engine = engine;
        this.work = work;
        Connection = connection;
        Request = request;
        ReservationId = reply.ReservationId;
        KvAddress = reply.KvAddress;
        MatchedTokens = reply.MatchedTokens;
        End = reply.End;
        request.Scope.Hold(this, this);
    }

    public bool IsOpenCall => false;

    public override Engine Engine => engine;

    public override int MatchedTokens { get; }

    public override int End { get; }

    public EngineConnection Connection { get; }

    public HostRequest Request { get; }

    public string ReservationId { get; }

    public ByteString KvAddress { get; }

    /// <summary>
    /// A router chose the holder as the sender too. Nothing is sent then: the pages go back, and the generation computes in place.
    /// </summary>
    public bool ComputeInPlace { get; set; }

    public bool HasEnded => Volatile.Read(ref ended) != 0;

    /// <summary>Takes the reservation for StartGenerate, which ends it on the engine; false if it has ended.</summary>
    public bool TryUse()
    {
        if (!TryEnd())
        {
            return false;
        }

        Request.Scope.LetGo(this);
        return true;
    }

    public override Task Release() => ReleaseAsync(onlyTrace: false);

    public Task EndAsync() => ReleaseAsync(onlyTrace: true);

    private async Task ReleaseAsync(bool onlyTrace)
    {
        if (!TryEnd())
        {
            return;
        }

        // The scope keeps the hold until the engine has answered, so that a request does not end before its releases.
        if (!Connection.Lost.IsCancellationRequested)
        {
            await engine.ControlAsync(
                Request,
                Connection,
                "Release",
                async (api, token) =>
                {
                    try
                    {
                        await api.ReleaseAsync(new() { ReservationId = ReservationId }, token);
                    }
                    catch (RpcException gone) when (gone.Status == RpcStatus.NotFound)
                    {
                        // Its lease ended first: that is what was asked for.
                    }
                },
                onlyTrace);
        }

        Request.Scope.LetGo(this);
    }

    private bool TryEnd()
    {
        if (Interlocked.Exchange(ref ended, 1) != 0)
        {
            return false;
        }

        work.Dispose();
        return true;
    }
}
