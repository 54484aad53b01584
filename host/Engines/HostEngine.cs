using System.Globalization;
using ScriptedServe.Contracts;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Explain;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>An engine as scripts call it: checks what the script passes, makes the wire call, keeps trace, load and the request's holds.</summary>
internal sealed class HostEngine(EngineMember member, FleetSettings settings, TokenChunks chunks, TimeProvider time) : Engine
{
    public EngineMember Member { get; } = member;

    public FleetSettings Settings { get; } = settings;

    public TimeProvider Time { get; } = time;

    public TokenChunks Chunks { get; } = chunks;

    public override string Id => Member.Id;

    public override string Model => Member.LastStatus?.Model?.Id ?? "";

    public override IReadOnlySet<string> Labels => Member.Labels;

    public override EngineLoad Load
    {
        get
        {
            var load = Member.LastStatus?.Load ?? new Wire.EngineLoad();
            var seen = new EngineLoad(load.Waiting, load.Running, load.PrefillTokensQueued, load.KvPagesFree, load.KvPagesTotal, Member.Work.Calls);
            if (RequestTrace.OfScript is { } trace)
            {
                trace.Decided(new LoadRead(trace.ElapsedMs, Id, seen));
            }

            return seen;
        }
    }

    public override int CachedTokens(Request request)
    {
        var cached = CachedPrefix(request);
        if (RequestTrace.OfScript is { } trace)
        {
            trace.Decided(new CachedRead(trace.ElapsedMs, Id, cached));
        }

        return cached;
    }

    public override async Task<KvReservation> PrepRecv(Request request, int? end = null)
    {
        var script = ScriptScope.Current;
        script?.Leave();
        var own = Own(request, nameof(PrepRecv));
        var stop = Window.Resolve(end ?? own.Length, own.Length, "PrepRecv: end");
        var wire = new Wire.PrepRecvRequest { RequestId = own.Id, End = stop };
        AddTokens(wire.TokenIds, own.Tokens);

        // The ticket lives on in the reservation: pages held for a sequence to come are load from this moment.
        var work = Member.Work.Begin(prefillTokens: 0);
        var handedOver = false;
        try
        {
            using var call = new EngineCall(this, own, own.Trace.Begin(Id, "PrepRecv", 0, stop, new CallArguments(null, end, null)));
            try
            {
                var reply = await call.Api.PrepRecvAsync(wire, call.Token);
                call.Trace.MatchedTokens = reply.MatchedTokens;
                var reservation = new HostReservation(this, call.Connection, own, reply, work);
                handedOver = true;
                call.Succeeded();
                return reservation;
            }
            catch (Exception e) when (e is RpcException or OperationCanceledException)
            {
                throw call.Failed(e);
            }
        }
        finally
        {
            if (!handedOver)
            {
                work.Dispose();
            }

            await BackToAsync(script);
        }
    }

    public override async Task<SendResult> RemoteSend(Request request, KvReservation to, int? begin = null, int? end = null)
    {
        var script = ScriptScope.Current;
        script?.Leave();
        var own = Own(request, nameof(RemoteSend));
        var target = Own(to, own, nameof(RemoteSend));
        var start = Window.Resolve(begin ?? target.MatchedTokens, own.Length, "RemoteSend: begin");
        var stop = Window.Resolve(end ?? target.End, own.Length, "RemoteSend: end");
        if (stop > target.End)
        {
            throw new ArgumentOutOfRangeException(nameof(end), Text($"RemoteSend: end = {stop} is past the reservation's end, {target.End}."));
        }

        var given = new CallArguments(begin, end, target.Engine.Id);
        if (start >= stop)
        {
            return Skip(own, target, start, stop, given, "nothing to send");
        }

        if (ReferenceEquals(target.Engine, this))
        {
            target.ComputeInPlace = true;
            return Skip(own, target, start, stop, given, "sender and receiver are the same engine: it computes in place");
        }

        var wire = new Wire.RemoteSendRequest { RequestId = own.Id, KvAddress = target.KvAddress, Begin = start, End = stop };
        AddTokens(wire.TokenIds, own.Tokens);
        using var work = Member.Work.Begin(Math.Max(0, stop - CachedPrefix(own)));
        using var call = new EngineCall(this, own, own.Trace.Begin(Id, "RemoteSend", start, stop, given));
        call.Trace.To = target.Engine.Id;
        try
        {
            var reply = await call.Api.RemoteSendAsync(wire, call.Token);
            call.Trace.SentTokens = reply.SentTokens;
            call.Trace.CachedTokens = reply.CachedTokens;
            call.Trace.ComputedTokens = reply.ComputedTokens;
            call.Trace.Bytes = reply.BytesSent;
            call.Trace.Transport = reply.Transport;
            call.Trace.QueueUs = reply.Timings?.QueueUs;
            call.Trace.ComputeUs = reply.Timings?.ComputeUs;
            call.Trace.TransferUs = reply.Timings?.TransferUs;
            call.Succeeded();
            return new SendResult(reply.SentTokens, reply.CachedTokens, reply.ComputedTokens, reply.BytesSent);
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException)
        {
            throw call.Failed(e);
        }
        finally
        {
            await BackToAsync(script);
        }
    }

    public override IAsyncEnumerable<Chunk> StartGenerate(Request request, KvReservation? kv = null, int? begin = null, Sampling? sampling = null)
    {
        var own = Own(request, nameof(StartGenerate));
        var reservation = kv is null ? null : Own(kv, own, nameof(StartGenerate));
        if (reservation is not null && !ReferenceEquals(reservation.Engine, this))
        {
            throw new ArgumentException($"StartGenerate: the reservation is on {reservation.Engine.Id}, the call on {Id}.", nameof(kv));
        }

        var from = begin is { } given ? Window.Resolve(given, own.Length, "StartGenerate: begin") : reservation?.End;
        return new GenerateStream(this, own, reservation, from, new CallArguments(begin, null, reservation?.Engine.Id), sampling ?? own.Sampling);
    }

    /// <summary>A call that does no work on the engine and must happen whatever became of the request: Release, Abort.</summary>
    /// <param name="onlyTrace">A failure is noted in the trace and not thrown: the lease ends what could not be told.</param>
    /// <exception cref="EngineException">The engine refused, or did not answer in time; not if it was lost.</exception>
    public async Task ControlAsync(HostRequest request, EngineConnection connection, string name, Func<IEngineApi, CancellationToken, Task> send, bool onlyTrace)
    {
        var trace = request.Trace.Begin(Id, name);
        using var timeout = new CancellationTokenSource(Settings.ControlTimeout, Time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, connection.Lost);
        try
        {
            await send(connection.Api, linked.Token);
            request.Trace.End(trace, CallOutcome.Ok);
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException)
        {
            var message = timeout.IsCancellationRequested ? Text($"{name} on {Id}: no answer within {Settings.ControlTimeout.TotalSeconds:0.#} s") : $"{name} on {Id}: {e.Message}";
            request.Trace.End(trace, CallOutcome.Failed, message);
            if (!onlyTrace && !connection.Lost.IsCancellationRequested)
            {
                throw new EngineException(Id, e is RpcException rpc ? WireMapping.ToError(rpc.Status) : EngineError.Cancelled, message, null, e);
            }
        }
    }

    /// <summary>As <see cref="CachedTokens(Request)"/>, for the host's own use: it is no decision of the script.</summary>
    public int CachedPrefix(Request request) => CachedPrefix(Own(request, nameof(CachedTokens)));

    public int CachedPrefix(HostRequest request) =>
        Member.LastStatus?.Layout?.PageTokens is > 0 and var pageTokens ? Member.Prefixes.LeadingPages(request.PrefixHashes(pageTokens)) * pageTokens : 0;

    internal static void AddTokens(Google.Protobuf.Collections.RepeatedField<int> field, ReadOnlyMemory<int> tokens)
    {
        field.Capacity = tokens.Length;
        foreach (var token in tokens.Span)
        {
            field.Add(token);
        }
    }

    /// <summary>Off the thread that reads the engine's connection: what follows is the script's.</summary>
    private static async ValueTask BackToAsync(ScriptScope? script)
    {
        if (script is not { HasShortTurns: true })
        {
            await PoolThread.Take();
        }

        script?.Resume();
    }

    private static HostRequest Own(Request request, string call) => request switch
    {
        HostRequest own => own,
        null => throw new ArgumentNullException(nameof(request), $"{call}: the request is null."),
        _ => throw new ArgumentException($"{call}: pass the request that HandleRequest was given, not a {request.GetType().Name}.", nameof(request)),
    };

    private static HostReservation Own(KvReservation kv, HostRequest request, string call)
    {
        if (kv is not HostReservation own)
        {
            throw new ArgumentException($"{call}: the reservation is {(kv is null ? "null" : "not one that PrepRecv gave")}.", nameof(kv));
        }

        if (own.Request != request)
        {
            throw new ArgumentException($"{call}: the reservation belongs to request {own.Request.Id}, not to {request.Id}.", nameof(kv));
        }

        return own.HasEnded
            ? throw new InvalidOperationException($"{call}: the reservation on {own.Engine.Id} has been released or used already.")
            : own;
    }

    private SendResult Skip(HostRequest request, HostReservation target, int begin, int end, CallArguments given, string why)
    {
        var trace = request.Trace.Begin(Id, "RemoteSend", begin, end, given);
        trace.To = target.Engine.Id;
        trace.SentTokens = 0;
        trace.Bytes = 0;
        trace.Transport = "none";
        request.Trace.End(trace, CallOutcome.Skipped, why);
        return new SendResult(0, 0, 0, 0);
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
