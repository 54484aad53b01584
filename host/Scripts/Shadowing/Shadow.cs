using System.Threading.Channels;
using ScriptedServe.Host.Requests;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts.Shadowing;

/// <summary>
/// A version in a load context of its own, that replays a sample of a router's requests after they were served, one at a time. What waits is
/// bounded, and what does not fit is counted and forgotten.
/// </summary>
/// <param name="clock">The one its globals show; it ends with the shadow.</param>
internal sealed class Shadow(
    string router, int version, double samplePercent, LoadedScript script, ScriptClock clock, ScriptCalls calls, ScriptLimits limits, TimeProvider time) : IAsyncDisposable
{
    private const int MostWaiting = 256;
    private static readonly TimeSpan RunLimit = TimeSpan.FromSeconds(5);

    private readonly string label = $"{router}@{version} (shadow)";
    private readonly DateTimeOffset since = time.GetUtcNow();
    private readonly ShadowFigures figures = new();
    private readonly CancellationTokenSource stop = new();
    private readonly Channel<RecordedRequest> waiting = Channel.CreateBounded<RecordedRequest>(new BoundedChannelOptions(MostWaiting) { SingleReader = true });
    private Task working = Task.CompletedTask;
    private Task planning = Task.CompletedTask;
    private long? planned;

    public int Version => version;

    public void Start() => working = Task.Run(WorkAsync);

    public ShadowView View() => figures.View(router, version, samplePercent, since);

    /// <summary>By the request's id: the same on every host.</summary>
    public bool Takes(string requestId) => Parts(requestId) < samplePercent * 100;

    public IRequestRecording Begin(RequestSpec spec, IReadOnlyList<SeenEngine> engines)
    {
        figures.Take();
        return new Recording(this, spec, engines);
    }

    /// <summary>Waits for the run under way, and gives the load context up.</summary>
    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        waiting.Writer.TryComplete();
        await working;
        script.Unload();
        clock.Dispose();
        stop.Dispose();
    }

    private async Task WorkAsync()
    {
        try
        {
            await foreach (var recorded in waiting.Reader.ReadAllAsync(stop.Token))
            {
                await PlanAsync();
                var run = new ShadowRun(recorded, label, limits.SubCalls);
                await run.RunAsync(script, calls, RunLimit, stop.Token);
                if (!stop.IsCancellationRequested)
                {
                    figures.Add(run);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // It was stopped.
        }
    }

    /// <summary>A shadow plans between requests, when its interval has passed; never twice at once.</summary>
    private async Task PlanAsync()
    {
        if (script.PlanStrategy is not { } plan || !planning.IsCompleted || (planned is { } last && time.GetElapsedTime(last) < TimeSpan.FromMilliseconds(limits.PlanIntervalMs)))
        {
            return;
        }

        planned = time.GetTimestamp();
        try
        {
            await LoadedScript.Run(
                async token =>
                {
                    token.ThrowIfCancellationRequested();
                    planning = plan(token);
                    await planning;
                    return true;
                },
                label, calls, RunLimit, stop.Token);
        }
        catch (Exception) when (!stop.IsCancellationRequested)
        {
            figures.PlanFailed();
        }
    }

    // FNV-1a with MurmurHash3's finalizer, in ten thousand parts.
    private static ulong Parts(string text)
    {
        var hash = 14695981039346656037UL;
        foreach (var c in text)
        {
            hash = (hash ^ c) * 1099511628211;
        }

        hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
        return (hash ^ (hash >> 33)) % 10_000;
    }

    private sealed class Recording(Shadow shadow, RequestSpec spec, IReadOnlyList<SeenEngine> engines) : IRequestRecording
    {
        private const int MostChunks = 8192;
        private readonly List<Chunk> chunks = [];

        public void Emitted(Chunk chunk)
        {
            if (chunks.Count <= MostChunks)
            {
                chunks.Add(chunk);
            }
        }

        public void Ended(RequestTrace trace)
        {
            if (trace.Outcome != CallOutcome.Ok || chunks.Count > MostChunks || chunks is not [.., { FinishReason: not null }])
            {
                shadow.figures.Skip();
            }
            else if (!shadow.waiting.Writer.TryWrite(new RecordedRequest(spec, engines, chunks, trace)))
            {
                shadow.figures.Drop();
            }
        }
    }
}
