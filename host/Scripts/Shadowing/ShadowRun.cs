using System.Globalization;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Explain;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts.Shadowing;

/// <summary>One replay of a recorded request by a shadow: what it did instead. Its limits are those of a live request.</summary>
internal sealed class ShadowRun : ScriptRecord
{
    private const int MostLines = 20;
    private const int LineChars = 200;

    private readonly Lock gate = new();
    private readonly List<ShadowCall> calls = [];
    private readonly List<string> lines = [];
    private readonly Dictionary<(ChoiceKind Kind, string Set), Queue<string>> choices;
    private readonly string router;
    private readonly int mostCalls;
    private int callsMade;

    public ShadowRun(RecordedRequest recorded, string router, int mostCalls)
    {
        Recorded = recorded;
        this.router = router;
        this.mostCalls = mostCalls;
        choices = recorded.Choices();
        Engines = [.. recorded.Engines.Select(seen => new ShadowEngine(seen, this))];
    }

    public RecordedRequest Recorded { get; }

    public ShadowEngine[] Engines { get; }

    public Request? Request { get; private set; }

    public string? Error { get; private set; }

    public IReadOnlyList<ShadowCall> Calls
    {
        get
        {
            lock (gate)
            {
                return [.. calls];
            }
        }
    }

    /// <summary>The first lines it wrote to its log.</summary>
    public IReadOnlyList<string> Lines
    {
        get
        {
            lock (gate)
            {
                return [.. lines];
            }
        }
    }

    public override void Wrote(bool isWarning, string line)
    {
        lock (gate)
        {
            if (lines.Count < MostLines)
            {
                lines.Add(line.Length > LineChars ? string.Concat(line.AsSpan(0, LineChars), "…") : line);
            }
        }
    }

    /// <summary>The engine that the request's own script was given for the same question, each answer once.</summary>
    public string? Chosen(ChoiceKind kind, string set)
    {
        lock (gate)
        {
            return choices.TryGetValue((kind, set), out var left) && left.TryDequeue(out var engine) ? engine : null;
        }
    }

    /// <param name="isCall">False for one that had nothing to do, which is no call on an engine.</param>
    /// <exception cref="ScriptLimitException">The request has made all the calls it may.</exception>
    public void Makes(ShadowCall call, bool isCall = true)
    {
        lock (gate)
        {
            if (isCall && ++callsMade > mostCalls)
            {
                throw ScriptGuard.Passed(string.Create(CultureInfo.InvariantCulture, $"{router} made more than {mostCalls} calls on engines for one request (setting script-subcalls)"));
            }

            calls.Add(call);
        }
    }

    /// <summary>Runs the script over the request. Does not throw: what goes wrong is the run's error.</summary>
    /// <param name="limit">On the whole run, however much of it the script waits.</param>
    public async Task RunAsync(LoadedScript script, ScriptCalls how, TimeSpan limit, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Request = new ShadowRequest(Recorded.Spec, stop.Token);
        var scope = new ScriptScope(how.Budget, router, Request.Id, stop.Token, this);
        var running = Task.Run(() => ReadAsync(script, scope, stop.Token), CancellationToken.None);
        try
        {
            await running.WaitAsync(limit, how.Clock, cancellationToken);
        }
        catch (TimeoutException)
        {
            Error = string.Create(CultureInfo.InvariantCulture, $"{router} did not end within {limit.TotalSeconds:0.#} s; engines answer a shadow at once");
        }
        catch (OperationCanceledException)
        {
            Error = "cancelled";
        }
        catch (Exception e)
        {
            Error = e is RouterFailedException ? e.Message : ScriptFailure.Describe(router, e).Message;
        }
        finally
        {
            await stop.CancelAsync();
            _ = running.ContinueWith(static left => left.Exception, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }

    private async Task ReadAsync(LoadedScript script, ScriptScope scope, CancellationToken cancellationToken)
    {
        var spec = Recorded.Spec;
        var check = new RouterStreamCheck(router, spec.PromptTokens.Length, spec.Sampling, vocabSize: 0);
        await foreach (var chunk in new ScriptStream(script, scope, Request!).WithCancellation(cancellationToken))
        {
            check.Accept(chunk);
        }

        check.Ended();
    }
}

/// <summary>The request a shadow is given: the one that was served, not continued.</summary>
internal sealed class ShadowRequest(RequestSpec spec, CancellationToken cancelled) : Request
{
    public override string Id => spec.Id;

    public override ReadOnlyMemory<int> Tokens => spec.PromptTokens;

    public override ReadOnlyMemory<int> Emitted => default;

    public override Sampling Sampling => spec.Sampling;

    public override IReadOnlyDictionary<string, string> Headers => spec.Headers;

    public override DateTimeOffset? Deadline => spec.Deadline;

    public override CancellationToken Cancelled => cancelled;
}
