using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Service;

namespace ScriptedServe.Engine.Tests.Fakes;

/// <summary>One engine of a simulation: a real core and service over a fake model and network.</summary>
internal sealed class SimulatedEngine
{
    private readonly TaskCompletionSource _died = new();
    private readonly IModelRunner _runner;

    public SimulatedEngine(
        string id, Simulation simulation, EngineLimits limits, int pages, int contextLength, ulong epoch = 7, int shortContext = int.MaxValue)
        : this(id, simulation, limits, pages, new FakeRunner(FakeRunner.Layout4, contextLength: contextLength, shortContext: shortContext), epoch)
    {
    }

    /// <param name="runner">Belongs to the caller.</param>
    public SimulatedEngine(string id, Simulation simulation, EngineLimits limits, int pages, IModelRunner runner, ulong epoch = 7)
    {
        _runner = simulation.Overlaps && runner is FakeRunner fake ? new OverlappingRunner(fake, pages) : runner;
        runner = _runner;
        Pool = new HeapKvPool(runner.Layout, pages, runner.KvShards);
        if (_runner is OverlappingRunner overlapping)
        {
            Pool.OnCopy = _ => overlapping.Catchup();
        }

        Core = new EngineCore(runner, Pool, simulation.Network.ReceiverOf(Pool), limits, new EngineIdentity(id, epoch, [], "fake"), simulation.Time);
        Service = new EngineService(Core, simulation.Network.SenderOf(Pool), simulation.Time);
    }

    public FakeRunner Runner => _runner as FakeRunner ?? Overlapping!.Runner;

    public OverlappingRunner? Overlapping => _runner as OverlappingRunner;

    public HeapKvPool Pool { get; }

    public EngineCore Core { get; }

    public EngineService Service { get; }

    public EngineLoad Load => Core.Status.Current.Load;

    /// <summary>It may be killed, and its callers are to notice that.</summary>
    public bool IsMortal { get; init; }

    public void Die() => _died.TrySetResult();

    /// <summary>A call as its caller sees it: it fails when the engine's process is gone.</summary>
    public Task<T> Reach<T>(Task<T> call) => IsMortal ? UntilDeathAsync(call) : call;

    private async Task<T> UntilDeathAsync<T>(Task<T> call) => await Task.WhenAny(call, _died.Task) == call
        ? await call
        : throw new RpcException(RpcStatus.Unavailable, "The engine is gone");
}

/// <summary>
/// Engines, their network, their clock and all who call them, on one thread in an order drawn from a seed. Continuations of the callers' tasks are queued
/// here too, so that a seed gives the same run each time.
/// </summary>
internal sealed class Simulation : SynchronizationContext, IDisposable
{
    private readonly Random _random;
    private readonly List<(SendOrPostCallback Callback, object? State)> _continuations = [];
    private readonly SynchronizationContext? _outer = Current;

    public Simulation(int seed = 0)
    {
        _random = new Random(seed);
        Network = new FakeKvNetwork(Time);
        SetSynchronizationContext(this);
    }

    public FaultyClock Time { get; } = new();

    public FakeKvNetwork Network { get; }

    public List<SimulatedEngine> Engines { get; } = [];

    /// <summary>Engines' runners compute beside them.</summary>
    public bool Overlaps { get; init; }

    /// <summary>Chance that time passes, by <see cref="Tick"/>, instead of anything else being done.</summary>
    public double TimeShare { get; set; } = 0.02;

    public TimeSpan Tick { get; set; } = TimeSpan.FromMilliseconds(200);

    public SimulatedEngine Add(string id, int pages = 64, EngineLimits? limits = null, int contextLength = 200)
    {
        var engine = new SimulatedEngine(id, this, limits ?? new EngineLimits(), pages, contextLength);
        Engines.Add(engine);
        return engine;
    }

    /// <summary>Ends an engine's process as kill -9 does, and puts a new one in its place.</summary>
    public SimulatedEngine Replace(SimulatedEngine engine, string id, ulong epoch, int pages, int contextLength)
    {
        Engines.Remove(engine);
        Network.Kill(engine.Pool);
        engine.Die();
        var next = new SimulatedEngine(id, this, engine.Core.Limits, pages, contextLength, epoch, engine.Core.Model.ShortContext) { IsMortal = true };
        Engines.Add(next);
        return next;
    }

    public override void Post(SendOrPostCallback d, object? state)
    {
        // A timer or a pool thread of the runtime may post here.
        lock (_continuations)
        {
            _continuations.Add((d, state));
        }
    }

    /// <summary>Starts a caller.</summary>
    public Task<T> Start<T>(Func<Task<T>> caller) => caller();

    /// <summary>Runs until a task is done, and gives its result.</summary>
    public T Run<T>(Task<T> task)
    {
        RunUntil(() => task.IsCompleted);
        return task.GetAwaiter().GetResult();
    }

    public void Run(Task task)
    {
        RunUntil(() => task.IsCompleted);
        task.GetAwaiter().GetResult();
    }

    public RpcException Fails(Task task)
    {
        RunUntil(() => task.IsCompleted);
        return Assert.ThrowsAny<RpcException>(() => task.GetAwaiter().GetResult());
    }

    public void RunUntil(Func<bool> done)
    {
        for (var moves = 0; !done(); moves++)
        {
            Assert.True(moves < 200_000, $"The simulation does not come to an end: {string.Join("; ", Engines.Select(engine => $"{engine.Load}"))}");
            Move();
            if (moves % 5_000 == 4_999)
            {
                LetPoolCatchUp();
            }
        }
    }

    /// <summary>Runs until nobody has anything left to do without time passing.</summary>
    public void Settle()
    {
        var timeShare = TimeShare;
        TimeShare = 0;
        for (var quiet = 0; quiet < 3;)
        {
            var busy = Engines.ConvertAll(engine => StepChecked(engine)).Contains(true);
            Network.PumpAll();
            busy |= RunContinuations();
            quiet = busy ? 0 : quiet + 1;
        }

        TimeShare = timeShare;
    }

    public void Advance(TimeSpan time)
    {
        Time.Advance(time);
        Settle();
    }

    public static bool StepChecked(SimulatedEngine engine)
    {
        var computed = engine.Core.Step();
        engine.Core.CheckIntegrity();
        return computed;
    }

    public void Dispose() => SetSynchronizationContext(_outer);

    /// <summary>One thing happens.</summary>
    public void Move()
    {
        if (_random.NextDouble() < TimeShare)
        {
            Time.Advance(Tick);
            return;
        }

        switch (_random.Next(4))
        {
            case 0:
                StepChecked(Engines[_random.Next(Engines.Count)]);
                break;
            case 1 when Network.Pending is { Count: > 0 } pending:
                Network.PumpOne(pending[_random.Next(pending.Count)]);
                break;
            default:
                RunContinuation();
                break;
        }
    }

    /// <summary>
    /// Some continuations, as those of WhenAll, come here by way of the thread pool, which other tests may keep busy: waits until it has run what it was
    /// given after them.
    /// </summary>
    public static void LetPoolCatchUp() =>
        Task.Factory.StartNew(() => { }, CancellationToken.None, TaskCreationOptions.PreferFairness, TaskScheduler.Default).Wait();

    /// <summary>Runs what callers have waiting.</summary>
    /// <returns>True if there was anything.</returns>
    public bool RunContinuations()
    {
        var any = false;
        while (RunContinuation())
        {
            any = true;
        }

        return any;
    }

    private bool RunContinuation()
    {
        (SendOrPostCallback Callback, object? State) next;
        lock (_continuations)
        {
            if (_continuations.Count == 0)
            {
                return false;
            }

            var index = _random.Next(_continuations.Count);
            next = _continuations[index];
            _continuations.RemoveAt(index);
        }

        next.Callback(next.State);
        return true;
    }
}
