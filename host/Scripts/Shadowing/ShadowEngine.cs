using ScriptedServe.Host.Engines;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts.Shadowing;

/// <summary>An engine that answers from what was recorded, at once, and writes down what it was asked.</summary>
/// <param name="run">Null outside a request, where no call can be made.</param>
internal sealed class ShadowEngine(SeenEngine seen, ShadowRun? run) : Engine
{
    public SeenEngine Seen => seen;

    public override string Id => seen.Id;

    public override string Model => seen.Model;

    public override IReadOnlySet<string> Labels => seen.Labels;

    public override EngineLoad Load => seen.Load;

    public override int CachedTokens(Request request) => seen.Cached;

    public override Task<KvReservation> PrepRecv(Request request, int? end = null)
    {
        var own = Own(request, nameof(PrepRecv));
        var stop = Window.Resolve(end ?? request.Length, request.Length, "PrepRecv: end");
        own.Makes(new ShadowCall("PrepRecv", Id, null, 0, stop));
        var matched = own.Recorded.Find("PrepRecv", Id)?.MatchedTokens ?? seen.Cached;
        return Task.FromResult<KvReservation>(new Reservation(this, Math.Min(matched, stop), stop));
    }

    public override Task<SendResult> RemoteSend(Request request, KvReservation to, int? begin = null, int? end = null)
    {
        ArgumentNullException.ThrowIfNull(to);
        var own = Own(request, nameof(RemoteSend));
        var start = Window.Resolve(begin ?? to.MatchedTokens, request.Length, "RemoteSend: begin");
        var stop = Window.Resolve(end ?? to.End, request.Length, "RemoteSend: end");
        own.Makes(new ShadowCall("RemoteSend", Id, to.Engine.Id, start, stop), isCall: start < stop && to.Engine != this);
        if (start >= stop || to.Engine == this)
        {
            return Task.FromResult(new SendResult(0, 0, 0, 0));
        }

        // Of another send than the recorded one, what a cache would have given is a guess, and its bytes follow from the recorded one's.
        var recorded = own.Recorded.Find("RemoteSend", Id);
        var cached = Math.Clamp(recorded?.CachedTokens ?? seen.Cached - start, 0, stop - start);
        var bytes = recorded is { Bytes: { } sent, SentTokens: > 0 and var tokens } ? sent / tokens * (stop - start) : 0;
        return Task.FromResult(new SendResult(stop - start, cached, stop - start - cached, bytes));
    }

    public override IAsyncEnumerable<Chunk> StartGenerate(Request request, KvReservation? kv = null, int? begin = null, Sampling? sampling = null)
    {
        var own = Own(request, nameof(StartGenerate));
        var from = begin is { } given ? Window.Resolve(given, request.Length, "StartGenerate: begin") : kv?.End ?? 0;
        return Generate(own, new ShadowCall("StartGenerate", Id, null, from, request.Length));
    }

    private static async IAsyncEnumerable<Chunk> Generate(ShadowRun own, ShadowCall call)
    {
        own.Makes(call);
        foreach (var chunk in own.Recorded.Chunks)
        {
            yield return chunk;
        }

        await Task.CompletedTask;
    }

    private ShadowRun Own(Request request, string call) => request == run?.Request
        ? run
        : throw new ArgumentException($"{call}: pass the request that HandleRequest was given.", nameof(request));

    private sealed class Reservation(ShadowEngine engine, int matched, int end) : KvReservation
    {
        public override Engine Engine => engine;

        public override int MatchedTokens => matched;

        public override int End => end;

        public override Task Release() => Task.CompletedTask;
    }
}
