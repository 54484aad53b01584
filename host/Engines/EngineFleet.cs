using System.Collections.Frozen;
using ScriptedServe.Contracts;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>
/// Owns the engines of this host: their states, labels and connections, and the snapshot that routers see. Every change goes through
/// <see cref="EngineLifecycle"/> under one lock and ends in one reference write. Engines are reached through
/// <see cref="IEngineApi"/> alone; who starts their processes is not known here.
/// </summary>
public sealed partial class EngineFleet : IAsyncDisposable
{
    private readonly Lock gate = new();
    private readonly Dictionary<string, Entry> entries = new(StringComparer.Ordinal);
    private readonly RoundRobinCounters turns = new();
    private readonly TokenChunks chunks = new();
    private readonly HostFleet scripts;
    private readonly IEngineConnector connector;
    private readonly FleetSettings settings;
    private readonly TimeProvider time;
    private readonly ILogger<EngineFleet> logger;
    private FleetModel? model;

    /// <param name="expected">What engines have to serve; null: whatever the first one does.</param>
    public EngineFleet(IEngineConnector connector, FleetSettings settings, TimeProvider time, ILogger<EngineFleet> logger, FleetModel? expected = null)
    {
        model = expected;
        this.connector = connector;
        this.settings = settings;
        this.time = time;
        this.logger = logger;
        scripts = new HostFleet(new FleetSnapshot([], turns, WhyEmpty));
    }

    /// <summary>Told of each change of state, after the change, outside the lock. Must not throw.</summary>
    public event Action<FleetEvent>? Changed;

    /// <summary>The engines that can be called, as scripts see them.</summary>
    public Scripting.RouterFleet Scripts => scripts;

    /// <summary>What the fleet serves; null if that is open and no engine has answered.</summary>
    public FleetModel? Model => Volatile.Read(ref model);

    public int ServingCount => scripts.Count;

    internal FleetSettings Settings => settings;

    internal IReadOnlyList<EngineMember> Members
    {
        get
        {
            lock (gate)
            {
                return [.. entries.Values.Select(entry => entry.Member).OrderBy(member => member.Id, StringComparer.Ordinal)];
            }
        }
    }

    /// <exception cref="FleetException">No such engine.</exception>
    internal EngineMember Find(string id)
    {
        lock (gate)
        {
            return Entry_NeedsLock(id).Member;
        }
    }

    /// <summary>Why no engine serves, engine by engine; for errors and <c>/ready</c>.</summary>
    public string WhyEmpty()
    {
        var members = Members;
        return members.Count == 0
            ? "the fleet has no engines"
            : "no engine serves: " + string.Join("; ", members.Select(member => $"{member.Id} is {member.State.ToString().ToLowerInvariant()}{(member.Reason is { } reason ? $" ({reason})" : "")}"));
    }

    /// <summary>A place for an engine that this host starts. It is called once <see cref="Launched"/> has told its address.</summary>
    internal EngineMember AddLocal(string id, IEnumerable<string> labels) => Add(id, EngineOrigin.Local, "", labels).Member;

    /// <summary>A local engine's process runs and will listen at an address.</summary>
    internal void Launched(EngineMember member, string address, int processId)
    {
        Change(member, EngineEvent.Launched, null, _ =>
        {
            member.Address = address;
            member.ProcessId = processId;
        });
        Watch(member, address);
    }

    /// <summary>A local engine's process ended.</summary>
    internal async Task ExitedAsync(EngineMember member, string reason)
    {
        Change(member, EngineEvent.ProcessExited, reason, _ => member.ProcessId = null);
        await StopWatchAsync(member);
    }

    internal void GaveUp(EngineMember member, string reason) => Change(member, EngineEvent.GaveUp, reason);

    /// <summary>Takes an engine out of the fleet at once: calls under way on it fail. Drain first to avoid that.</summary>
    /// <exception cref="FleetException">No such engine.</exception>
    internal async Task DetachAsync(string id, string reason = "it was detached")
    {
        var member = Find(id);
        Change(member, EngineEvent.Detached, reason);
        await StopWatchAsync(member);
        lock (gate)
        {
            entries.Remove(id);
        }
    }

    /// <exception cref="FleetException">No such engine.</exception>
    internal void SetLabels(string id, IEnumerable<string> labels)
    {
        lock (gate)
        {
            var member = Entry_NeedsLock(id).Member;
            member.Labels = labels.ToFrozenSet(StringComparer.Ordinal);
            member.LabelsAreSet = true;
            Publish_NeedsLock();
        }
    }

    /// <summary>Stops routing to an engine at once, and tells it to finish what runs. Returns when it is told, not when it is idle.</summary>
    /// <exception cref="FleetException">No such engine, or it is not serving.</exception>
    internal void Drain(string id)
    {
        var member = Find(id);
        if (member.State != EngineState.Serving || member.Connection is not { } connection)
        {
            throw new FleetException(FleetProblem.NotPossible, $"Engine {id} is {member.State.ToString().ToLowerInvariant()}; only a serving engine can be drained.");
        }

        Change(member, EngineEvent.DrainRequested, "an operator asked");
        _ = DrainAsync(member, connection);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var member in Members)
        {
            await DetachAsync(member.Id, "the host stops");
        }
    }

    private async Task DrainAsync(EngineMember member, EngineConnection connection)
    {
        using var timeout = new CancellationTokenSource(settings.DrainTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, connection.Lost);
        try
        {
            await connection.Api.DrainAsync(new Wire.DrainRequest(), either.Token);
            lock (gate)
            {
                member.Reason = member.State == EngineState.Draining ? "drained: nothing runs on it" : member.Reason;
            }
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException)
        {
            LogDrainFailed(member.Id, connection.Lost.IsCancellationRequested ? connection.LostBecause! : e.Message);
        }
    }

    private Entry Add(string id, EngineOrigin origin, string address, IEnumerable<string> labels)
    {
        lock (gate)
        {
            var member = new EngineMember(id, origin, address, labels, time.GetUtcNow());
            var entry = new Entry(member, new HostEngine(member, settings, chunks, time));
            return entries.TryAdd(id, entry) ? entry : throw new FleetException(FleetProblem.AlreadyThere, $"There is an engine '{id}' already; give the new one another id.");
        }
    }

    private void Watch(EngineMember member, string address)
    {
        var api = connector.Connect(address);
        var stop = new CancellationTokenSource();
        var watch = new EngineWatch(api, settings, time, new Listener(this, member, api));
        lock (gate)
        {
            if (entries.TryGetValue(member.Id, out var entry) && entry.Member == member)
            {
                entry.Stop = stop;
                entry.Watching = RunAsync();
                return;
            }
        }

        stop.Dispose();

        async Task RunAsync()
        {
            // Off the lock and the caller's stack.
            await Task.Yield();
            try
            {
                await watch.RunAsync(stop.Token);
            }
            finally
            {
                await DisposeAsync(api);
                stop.Dispose();
            }
        }
    }

    private async Task StopWatchAsync(EngineMember member)
    {
        CancellationTokenSource? stop;
        Task watching;
        lock (gate)
        {
            if (!entries.TryGetValue(member.Id, out var entry) || entry.Member != member)
            {
                return;
            }

            (stop, entry.Stop) = (entry.Stop, null);
            (watching, entry.Watching) = (entry.Watching, Task.CompletedTask);
        }

        if (stop is not null)
        {
            await stop.CancelAsync();
            await watching;
        }
    }

    private void FirstHeard(EngineMember member)
    {
        lock (gate)
        {
            if (entries.TryGetValue(member.Id, out var entry) && entry.Member == member)
            {
                entry.Heard.TrySetResult();
            }
        }
    }

    private void Reported(EngineMember member, IEngineApi api, Wire.EngineStatus status, bool first)
    {
        var said = FleetModel.Of(status);
        string? mismatch;
        lock (gate)
        {
            mismatch = model?.WhyNot(said, settings.AlsoModels);
            if (mismatch is null && model is not { IsSettled: true } && (model is null || model.Id == said.Id))
            {
                Volatile.Write(ref model, said);
            }
        }

        if (mismatch is not null)
        {
            if (member.State != EngineState.Failed)
            {
                GaveUp(member, mismatch);
            }

            return;
        }

        if (member.LastStatus is { } last && last.Epoch != status.Epoch && member.State is not (EngineState.Starting or EngineState.Stopped))
        {
            Change(member, EngineEvent.Launched, "it was restarted");
        }

        if (first)
        {
            member.Prefixes.Clear();
        }

        member.Prefixes.Apply(status.CacheEvents);
        status.CacheEvents.Clear();
        if (status.Load is { } load)
        {
            member.Work.Reported(load.PrefillTokensQueued, load.Waiting + load.Running);
        }

        Change(member, status.State == Wire.EngineState.Draining ? EngineEvent.ReportedDraining : EngineEvent.ReportedServing, null, to =>
        {
            member.LastStatus = status;
            if (to is EngineState.Serving or EngineState.Draining)
            {
                member.Connection ??= new EngineConnection(api);
            }

            if (!member.LabelsAreSet && !member.Labels.SetEquals(status.Labels))
            {
                member.Labels = status.Labels.ToFrozenSet(StringComparer.Ordinal);
                Publish_NeedsLock();
            }
        });
    }

    /// <summary>The one place where states change.</summary>
    /// <param name="apply">Further changes of the member, made under the lock and told the state after the event; not if it has left the fleet.</param>
    private void Change(EngineMember member, EngineEvent happened, string? reason, Action<EngineState>? apply = null)
    {
        FleetEvent? told = null;
        EngineConnection? lost = null;
        lock (gate)
        {
            var from = member.State;
            if (from == EngineState.Stopped)
            {
                return;
            }

            var to = EngineLifecycle.Next(from, happened);
            if (to is not (EngineState.Serving or EngineState.Draining))
            {
                (lost, member.Connection) = (member.Connection, null);
                member.Prefixes.Clear();
                member.Work.Reset();
                member.Reason = reason ?? (to == from ? member.Reason : null);
            }
            else if (to != from)
            {
                member.Reason = reason;
            }

            apply?.Invoke(to);
            if (to != from)
            {
                member.State = to;
                member.Since = time.GetUtcNow();
                told = new FleetEvent(member.Since, member.Id, from, to, member.Reason);
                Publish_NeedsLock();
            }
            else if (happened == EngineEvent.ProcessExited)
            {
                // Its connection broke a moment before; why it ended is known only now.
                told = new FleetEvent(time.GetUtcNow(), member.Id, from, to, member.Reason);
            }
        }

        lost?.Lose(reason ?? "it was started anew");
        if (told is not null)
        {
            LogChanged(told.Engine, told.From, told.To, told.Reason is null ? "" : $": {told.Reason}");
            Changed?.Invoke(told);
        }
    }

    private void Publish_NeedsLock() =>
        scripts.Current = new FleetSnapshot(entries.Values.Where(entry => entry.Member.State == EngineState.Serving).Select(entry => entry.Script), turns, WhyEmpty);

    private Entry Entry_NeedsLock(string id) =>
        entries.TryGetValue(id, out var entry) ? entry : throw new FleetException(FleetProblem.NoSuchEngine, $"There is no engine '{id}'. Engines: {string.Join(", ", entries.Keys)}.");

    private static async ValueTask DisposeAsync(IEngineApi api)
    {
        switch (api)
        {
            case IAsyncDisposable disposable:
                await disposable.DisposeAsync();
                break;
            case IDisposable disposable:
                disposable.Dispose();
                break;
        }
    }

    [LoggerMessage(EventId = 1, Level = LogLevel.Information, Message = "engine {Engine}: {From} -> {To}{Reason}")]
    private partial void LogChanged(string engine, EngineState from, EngineState to, string reason);

    [LoggerMessage(EventId = 2, Level = LogLevel.Warning, Message = "engine {Engine}: drain did not finish: {Reason}")]
    private partial void LogDrainFailed(string engine, string reason);

    private sealed class Entry(EngineMember member, HostEngine script)
    {
        public EngineMember Member { get; } = member;

        public HostEngine Script { get; } = script;

        /// <summary>Completes with the first status.</summary>
        public TaskCompletionSource Heard { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public CancellationTokenSource? Stop { get; set; }

        public Task Watching { get; set; } = Task.CompletedTask;
    }

    private sealed class Listener(EngineFleet fleet, EngineMember member, IEngineApi api) : IEngineWatchListener
    {
        public void Reported(Wire.EngineStatus status, bool first)
        {
            fleet.Reported(member, api, status, first);
            fleet.FirstHeard(member);
        }

        public void ConnectionLost(string reason) => fleet.Change(member, EngineEvent.ConnectionLost, reason);
    }
}
