using System.Collections.Concurrent;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging.Abstractions;
using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Engines.Supervision;
using ScriptedServe.Host.Options;

namespace ScriptedServe.Host.Tests.Engines;

public sealed class SupervisionTests
{
    private static readonly TimeSpan Step = TimeSpan.FromMilliseconds(100);

    [Fact]
    public async Task A_dead_engine_is_lost_with_its_last_words_and_started_again()
    {
        await using var world = new FakeWorld();
        var launcher = new FakeLauncher(world);
        await using var local = Local(world, launcher, count: 2);
        local.Start();
        await world.EventuallyAsTimePasses(() => world.Fleet.ServingCount == 2, Step);

        world.Time.Advance(TimeSpan.FromMinutes(1));
        launcher.Processes[^1].Die(134, "out of memory");
        await world.EventuallyAsTimePasses(() => world.Fleet.ServingCount == 2 && launcher.Processes.Count == 3, Step);

        // The break of its connection may be seen before.
        var lost = Assert.Single(world.Events, change => change.Reason == "its process ended with exit code 134; it last wrote: out of memory");
        Assert.Equal(EngineState.Lost, lost.To);
        Assert.Equal(1, world.Fleet.Find(lost.Engine).Restarts);
    }

    [Fact]
    public async Task An_engine_that_keeps_dying_at_once_is_given_up_with_the_reason_and_comes_back_on_restart()
    {
        await using var world = new FakeWorld();
        var launcher = new FakeLauncher(world) { DiesAtOnce = "no such model" };
        await using var local = Local(world, launcher, count: 1);
        local.Start();
        var engine = world.Fleet.Find("engine-0");

        await world.EventuallyAsTimePasses(() => engine.State == EngineState.Failed, Step);
        Assert.Equal(5, launcher.Processes.Count);
        Assert.Contains("no such model", engine.Reason, StringComparison.Ordinal);
        Assert.Contains("5 starts", engine.Reason, StringComparison.Ordinal);

        launcher.DiesAtOnce = null;
        local.Restart("engine-0");
        await world.EventuallyAsTimePasses(() => engine.State == EngineState.Serving, Step);
    }

    [Fact]
    public async Task An_engine_whose_address_is_none_is_ended_and_given_up_with_the_reason()
    {
        await using var world = new FakeWorld();
        var launcher = new FakeLauncher(world) { HasAddress = false };
        await using var local = Local(world, launcher, count: 1);
        local.Start();
        var engine = world.Fleet.Find("engine-0");

        await world.EventuallyAsTimePasses(() => engine.State == EngineState.Failed, TimeSpan.FromSeconds(1));

        Assert.Contains("nothing at unix:", engine.Reason, StringComparison.Ordinal);
        Assert.All(launcher.Processes, process => Assert.True(process.Ended));
    }

    [Fact]
    public void Waits_double_with_each_quick_death_until_the_engine_is_given_up()
    {
        var policy = new RestartPolicy(new SupervisionSettings());
        var quick = TimeSpan.FromSeconds(1);

        Assert.Equal([0.5, 1, 2, 4], Enumerable.Range(0, 4).Select(_ => policy.Died(quick)!.Value.TotalSeconds));
        Assert.Null(policy.Died(quick));
        Assert.Equal(0.5, policy.Died(TimeSpan.FromMinutes(5))!.Value.TotalSeconds);
    }

    [Fact]
    public async Task A_process_that_never_answers_is_killed_with_the_setting_named()
    {
        await using var world = new FakeWorld();
        var launcher = new FakeLauncher(world) { Answers = false };
        await using var local = Local(world, launcher, count: 1);
        local.Start();

        await world.EventuallyAsTimePasses(() => launcher.Processes.Count == 2, TimeSpan.FromSeconds(1));

        Assert.Contains(world.Events, change => change.To == EngineState.Lost && change.Reason!.Contains("--engine-start-timeout", StringComparison.Ordinal));
        Assert.True(launcher.Processes[0].Ended);
    }

    [Fact]
    public async Task Stopping_asks_each_process_to_end_and_kills_one_that_does_not()
    {
        await using var world = new FakeWorld();
        var launcher = new FakeLauncher(world) { IgnoresTerminate = true };
        var local = Local(world, launcher, count: 2);
        local.Start();
        await world.EventuallyAsTimePasses(() => world.Fleet.ServingCount == 2, Step);

        var stopped = local.DisposeAsync().AsTask();
        await world.EventuallyAsTimePasses(() => stopped.IsCompleted, TimeSpan.FromSeconds(1));

        Assert.All(launcher.Processes, process => Assert.Equal((true, true), (process.Terminated, process.Ended)));
        Assert.Equal(0, world.Fleet.ServingCount);
    }

    [Fact]
    public async Task The_default_pair_is_one_prefill_and_one_decode_engine_on_private_sockets()
    {
        await using var world = new FakeWorld();
        var launcher = new FakeLauncher(world);
        await using var local = Local(world, launcher, count: 2);
        local.Start();
        await world.EventuallyAsTimePasses(() => world.Fleet.ServingCount == 2, Step);

        Assert.Equal("engine-0", Assert.Single(world.Fleet.Scripts.Role("prefill")).Id);
        Assert.Equal("engine-1", Assert.Single(world.Fleet.Scripts.Role("decode")).Id);
        var folder = Path.GetDirectoryName(launcher.Launches.First().Listen)!;
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(folder));
        }
    }

    [Fact]
    public async Task Engines_get_processors_of_their_own()
    {
        await using var world = new FakeWorld();
        var launcher = new FakeLauncher(world);
        var (options, errors) = Options(("cpus", "8,2-4"), ("engines", "2"));
        Assert.Empty(errors);
        Assert.Equal(2, options!.Threads);
        await using var local = Local(world, launcher, count: 2, options.Processors);
        local.Start();
        await world.EventuallyAsTimePasses(() => launcher.Launches.Count == 2, Step);
        Assert.Equal(
            [("engine-0", "8,2"), ("engine-1", "3,4")],
            launcher.Launches.OrderBy(launch => launch.Id, StringComparer.Ordinal).Select(launch => (launch.Id, launch.Options.Single(option => option.Name == "cpus").Value)));
    }

    [Theory]
    [InlineData("0-2", "2", null, "3 processors cannot be shared out evenly among 2 engines")]
    [InlineData("0-3", "2", "1", "1 threads an engine differ from its 2 processors")]
    [InlineData("0-3,2", "2", null, "processor 2 is listed twice")]
    [InlineData("all", "1", null, "numbers from 0 to 1023")]
    public void A_list_of_processors_that_cannot_be_shared_out_is_refused(string processors, string engines, string? threads, string error)
    {
        var (options, errors) = threads is null
            ? Options(("cpus", processors), ("engines", engines))
            : Options(("cpus", processors), ("engines", engines), ("threads", threads));
        Assert.Null(options);
        Assert.Contains(error, Assert.Single(errors), StringComparison.Ordinal);
    }

    [Fact]
    public void Engines_are_told_of_their_ranks_and_get_threads_that_can_be_divided_among_them()
    {
        var options = Options(("engines", "3"), ("tensor-parallel", "2")).Options!;
        Assert.Equal(4, options.Threads);
        Assert.Contains(("tensor-parallel", "2"), options.PassedOn);
        Assert.Equal(8, Options(("engines", "3"), ("tensor-parallel", "8")).Options!.Threads);
        Assert.DoesNotContain(Options(("engines", "3")).Options!.PassedOn, option => option.Name == "tensor-parallel");
        Assert.StartsWith(
            "--threads 3 cannot be divided among 2 ranks (--tensor-parallel)",
            Assert.Single(Options(("cpus", "0-5"), ("engines", "2"), ("tensor-parallel", "2")).Errors), StringComparison.Ordinal);
    }

    private static (ServeOptions? Options, IReadOnlyList<string> Errors) Options(params (string Name, string Value)[] given) => ServeOptionsReader.Read(
        new SettingSources(
            setting => [.. given.Where(option => option.Name == setting.Name).Select(option => option.Value)], _ => null, new ConfigurationBuilder().Build()),
        cores: 16);

    private static LocalEngines Local(FakeWorld world, FakeLauncher launcher, int count, IReadOnlyList<int>? processors = null) => new(
        world.Fleet,
        launcher,
        new LocalEngineSettings(count, "model", ["cpu"], 1, null, []) { Processors = processors ?? [] },
        new SupervisionSettings(),
        world.Time,
        NullLogger<LocalEngines>.Instance);

    private sealed class FakeLauncher(FakeWorld world) : IEngineLauncher
    {
        private readonly List<FakeProcess> processes = [];

        public ConcurrentQueue<EngineLaunch> Launches { get; } = new();

        public string? DiesAtOnce { get; set; }

        public bool Answers { get; set; } = true;

        public bool HasAddress { get; set; } = true;

        public bool IgnoresTerminate { get; set; }

        public IReadOnlyList<FakeProcess> Processes
        {
            get
            {
                lock (processes)
                {
                    return [.. processes];
                }
            }
        }

        public IEngineProcess Launch(EngineLaunch launch, Action<string> line)
        {
            Launches.Enqueue(launch);
            var engine = new FakeEngine(launch.Id);
            if (!Answers || DiesAtOnce is not null)
            {
                engine.Die();
            }

            if (HasAddress)
            {
                world.Reachable($"unix:{launch.Listen}", engine);
            }

            var process = new FakeProcess(engine, line, IgnoresTerminate);
            lock (processes)
            {
                processes.Add(process);
            }

            if (DiesAtOnce is { } words)
            {
                process.Die(1, words);
            }

            return process;
        }
    }

    private sealed class FakeProcess(FakeEngine engine, Action<string> line, bool ignoresTerminate) : IEngineProcess
    {
        private readonly TaskCompletionSource<int> exited = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Id => 4711;

        public Task<int> Exited => exited.Task;

        public bool Ended => exited.Task.IsCompleted;

        public bool Terminated { get; private set; }

        public void Die(int code, string lastWords)
        {
            line(lastWords);
            exited.TrySetResult(code);
            engine.Die();
        }

        public void Terminate()
        {
            Terminated = true;
            if (!ignoresTerminate)
            {
                Kill();
            }
        }

        public void Kill()
        {
            if (exited.TrySetResult(137))
            {
                engine.Die();
            }
        }

        public void Dispose()
        {
        }
    }
}
