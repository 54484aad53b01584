using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.CompilerServices;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>Engines that write down the calls they get and generate a few tokens.</summary>
internal sealed class FakeFleet(params FakeEngine[] engines) : RouterFleet
{
    public IReadOnlyList<FakeEngine> Engines => engines;

    public ConcurrentQueue<string> Calls { get; } = new();

    /// <summary>The requests of all StartGenerate calls, in the order in which they began.</summary>
    public ConcurrentQueue<Request> Generated { get; } = new();

    public override int Count => engines.Length;

    public override Engine this[int index] => engines[index];

    public static FakeFleet PrefillAndDecode()
    {
        var fleet = new FakeFleet(new FakeEngine("p", "prefill"), new FakeEngine("d", "decode"));
        fleet.Attach();
        return fleet;
    }

    public static FakeFleet OfEngines(params string[] ids) => Of([.. ids.Select(id => new FakeEngine(id))]);

    public static FakeFleet Of(params FakeEngine[] engines)
    {
        var fleet = new FakeFleet(engines);
        fleet.Attach();
        return fleet;
    }

    public override EngineSet Role(string label) =>
        engines.Any(engine => engine.Labels.Contains(label)) ? Where(engine => engine.Labels.Contains(label)) : this;

    public override Engine? Find(string id) => engines.FirstOrDefault(engine => engine.Id == id);

    public override Engine LeastLoaded() => FakeSet.Least(engines);

    public override Engine RoundRobin() => FakeSet.Next(this, ref _turn);

    public override Engine LongestPrefix(Request request) => FakeSet.Longest(engines, request);

    public override EngineSet Where(Func<Engine, bool> condition) => new FakeSet([.. engines.Where(engine => condition(engine))]);

    private int _turn;

    private void Attach()
    {
        foreach (var engine in engines)
        {
            engine.Fleet = this;
        }
    }
}

internal sealed class FakeSet(FakeEngine[] engines) : EngineSet
{
    private int _turn;

    public override int Count => engines.Length;

    public override Engine this[int index] => engines[index];

    public static Engine Least(FakeEngine[] engines) => engines.Length == 0
        ? throw new EngineException("", EngineError.Unavailable, "no engine")
        : engines.MinBy(engine => engine.Load.InFlight)!;

    public static Engine Next(EngineSet set, ref int turn) => set[(Interlocked.Increment(ref turn) - 1) % set.Count];

    public static Engine Longest(FakeEngine[] engines, Request request) => engines.MaxBy(engine => engine.CachedTokens(request))!;

    public override Engine LeastLoaded() => Least(engines);

    public override Engine RoundRobin() => Next(this, ref _turn);

    public override Engine LongestPrefix(Request request) => Longest(engines, request);

    public override EngineSet Where(Func<Engine, bool> condition) => new FakeSet([.. engines.Where(engine => condition(engine))]);
}

internal sealed class FakeEngine(string id, params string[] labels) : Engine
{
    public FakeFleet? Fleet { get; set; }

    /// <summary>Prompt tokens the engine claims to have.</summary>
    public int Cached { get; set; }

    public int InFlight { get; set; }

    public int Queued { get; set; }

    /// <summary>When set, StartGenerate waits for it before its first chunk.</summary>
    public Task? HoldFirst { get; set; }

    /// <summary>When set, StartGenerate waits for it before its second chunk.</summary>
    public Task? Hold { get; set; }

    /// <summary>Of each token it generates.</summary>
    public float Logprob { get; set; }

    /// <summary>When set, StartGenerate fails with it instead of its first chunk.</summary>
    public Exception? Fails { get; set; }

    /// <summary>Told of each PrepRecv, on the thread that calls it.</summary>
    public Action? Prepares { get; set; }

    /// <summary>Generations that run.</summary>
    public int Generating => Volatile.Read(ref generating);

    private int generating;

    public override string Id => id;

    public override string Model => "tiny";

    public override IReadOnlySet<string> Labels { get; } = labels.ToHashSet();

    public override EngineLoad Load => new(0, 0, Queued, 100, 100, InFlight);

    public override int CachedTokens(Request request) => Math.Min(Cached, request.Length);

    public override Task<KvReservation> PrepRecv(Request request, int? end = null)
    {
        Note($"PrepRecv(end: {end})");
        Prepares?.Invoke();
        var window = end ?? request.Length;
        return Task.FromResult<KvReservation>(new FakeReservation(this, Math.Min(Cached, window), window));
    }

    public override Task<SendResult> RemoteSend(Request request, KvReservation to, int? begin = null, int? end = null)
    {
        var (from, until) = (begin ?? to.MatchedTokens, end ?? to.End);
        if (from < until)
        {
            Note($"RemoteSend(to: {to.Engine.Id}, {from}..{until})");
        }

        return Task.FromResult(new SendResult(until - from, 0, until - from, 0));
    }

    public override IAsyncEnumerable<Chunk> StartGenerate(Request request, KvReservation? kv = null, int? begin = null, Sampling? sampling = null) =>
        Generate(request, kv, begin, sampling ?? request.Sampling);

    private async IAsyncEnumerable<Chunk> Generate(Request request, KvReservation? kv, int? begin, Sampling sampling, [EnumeratorCancellation] CancellationToken stopped = default)
    {
        Note($"StartGenerate({(kv is null ? "" : "kv: " + kv.End.ToString(CultureInfo.InvariantCulture))}{(begin is null ? "" : "begin: " + begin)})");
        Fleet?.Generated.Enqueue(request);
        Interlocked.Increment(ref generating);
        try
        {
            await (HoldFirst ?? Task.CompletedTask).WaitAsync(stopped);
            if (Fails is not null)
            {
                throw Fails;
            }

            yield return new Chunk { Tokens = new[] { 1, 2 }, Logprobs = Logprobs(2) };
            await (Hold ?? Task.CompletedTask).WaitAsync(stopped);
            await Task.Yield();
            yield return new Chunk { Tokens = new[] { 3 }, Logprobs = Logprobs(1), FinishReason = FinishReason.Stop, Usage = new Usage(request.Length, 3, 0) };
        }
        finally
        {
            Interlocked.Decrement(ref generating);
        }

        TokenLogprob[] Logprobs(int count) => sampling.Logprobs is null ? [] : [.. Enumerable.Repeat(new TokenLogprob(Logprob, []), count)];
    }

    public void Note(string call) => Fleet?.Calls.Enqueue($"{id}.{call}");
}

internal sealed class FakeReservation(FakeEngine engine, int matched, int end) : KvReservation
{
    public override Engine Engine => engine;

    public override int MatchedTokens => matched;

    public override int End => end;

    public override Task Release()
    {
        engine.Note("Release()");
        return Task.CompletedTask;
    }
}

internal sealed class FakeRequest(int length, string id = "req-1", CancellationToken cancelled = default, params (string Name, string Value)[] headers) : Request
{
    public override string Id => id;

    public override ReadOnlyMemory<int> Tokens { get; } = Enumerable.Range(0, length).ToArray();

    public override ReadOnlyMemory<int> Emitted => default;

    public override Sampling Sampling { get; } = new();

    public override IReadOnlyDictionary<string, string> Headers { get; } = headers.ToDictionary(header => header.Name, header => header.Value, StringComparer.OrdinalIgnoreCase);

    public override DateTimeOffset? Deadline => null;

    public override CancellationToken Cancelled => cancelled;
}

internal sealed class FakeTraffic : RouterTraffic
{
    public double Rate { get; set; }

    public double Ratio { get; set; }

    public Distribution Prompt { get; set; }

    public override double ArrivalRate => Rate;

    public override Distribution PromptTokens => Prompt;

    public override Distribution OutputTokens => default;

    public override double PrefillDecodeRatio => Ratio;

    public Distribution FirstToken { get; set; }

    public override Distribution Ttft => FirstToken;

    public override Distribution Tpot => default;

    public override Distribution Jct => default;

    public override int InFlight => 0;
}
