using ScriptedServe.Engine.Compute.Cpu;

namespace ScriptedServe.Engine.Tests.Compute;

public sealed class WorkerTeamTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Every_item_of_every_loop_runs_exactly_once(int threads)
    {
        using var team = new WorkerTeam(threads);
        var runs = new int[40];
        var random = new Random(threads);
        for (int loop = 0; loop < 5000; loop++)
        {
            int items = random.Next(runs.Length + 1);
            Array.Clear(runs);
            team.For(items, (item, worker) =>
            {
                Assert.InRange(worker, 0, threads - 1);
                Interlocked.Increment(ref runs[item]);
            });
            Assert.All(runs, (count, item) => Assert.Equal(item < items ? 1 : 0, count));
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Runs_cover_every_item_once_whoever_is_slow(int threads)
    {
        using var team = new WorkerTeam(threads);
        var runs = new int[200];
        var random = new Random(threads);
        for (int loop = 0; loop < 2000; loop++)
        {
            int items = random.Next(runs.Length + 1);
            int most = random.Next(1, 8);
            int slow = random.Next(threads);
            Array.Clear(runs);
            team.ForRuns(items, most, (first, count, worker) =>
            {
                Assert.InRange(count, 1, threads > 1 && items > 1 ? most : items);
                for (int item = first; item < first + count; item++)
                {
                    Interlocked.Increment(ref runs[item]);
                    Thread.SpinWait(worker == slow ? 50 : 0);
                }
            });
            Assert.All(runs, (count, item) => Assert.Equal(item < items ? 1 : 0, count));
        }
    }

    /// <summary>More threads than processors: one that has just found its share empty is often held up until the next loop has begun.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(8)]
    public async Task Loops_that_follow_each_other_at_once_lose_no_item(int threads)
    {
        var team = new WorkerTeam(threads);
        long ran = 0;
        long expected = 0;
        var loops = Task.Run(() =>
        {
            for (int loop = 0; loop < 100_000; loop++)
            {
                int items = threads * 3;
                expected += items;
                team.ForRuns(items, 1, (_, count, _) => Interlocked.Add(ref ran, count));
            }
        });

        // A lost item keeps its loop from ending, and the team from being disposed of.
        await loops.WaitAsync(TimeSpan.FromMinutes(3));
        team.Dispose();
        Assert.Equal(expected, ran);
    }

    [Fact]
    public void What_a_thread_that_is_held_up_has_not_begun_is_done_by_others()
    {
        using var team = new WorkerTeam(2);
        int byOthers = 0;
        using var rest = new ManualResetEventSlim();
        team.For(100, (item, worker) =>
        {
            // The thread at item 0 goes on only when nearly all items have been run by the other one.
            if (item == 0)
            {
                Assert.True(rest.Wait(TimeSpan.FromSeconds(30)));
            }
            else if (Interlocked.Increment(ref byOthers) == 90)
            {
                rest.Set();
            }
        });
        Assert.Equal(99, byOthers);
    }

    [Fact]
    public void An_exception_of_an_item_reaches_the_caller_and_the_team_goes_on()
    {
        using var team = new WorkerTeam(3);
        int ran = 0;
        var error = Assert.Throws<InvalidOperationException>(() => team.For(20, (item, _) =>
        {
            Interlocked.Increment(ref ran);
            if (item == 7)
            {
                throw new InvalidOperationException("item 7");
            }
        }));
        Assert.Equal("item 7", error.Message);
        Assert.Equal(20, ran);
        team.For(20, (_, _) => Interlocked.Increment(ref ran));
        Assert.Equal(40, ran);
    }

    [Fact]
    public void Workers_share_a_loop_and_wake_up_again_after_sleeping()
    {
        using var team = new WorkerTeam(2);
        for (int round = 0; round < 20; round++)
        {
            // Neither item can end before the other has begun: two threads must take part, asleep or not.
            using var both = new Barrier(2);
            team.For(2, (_, _) => Assert.True(both.SignalAndWait(TimeSpan.FromSeconds(30))));
        }
    }

    [Fact]
    public void A_disposed_team_ends_its_threads_and_refuses_loops()
    {
        var team = new WorkerTeam(4);
        team.Dispose();
        team.Dispose();
        Assert.Throws<ObjectDisposedException>(() => team.For(2, (_, _) => { }));
    }

    [Fact]
    public void Idle_workers_sleep_soon_and_stay_asleep()
    {
        using var team = new WorkerTeam(3);
        using var neighbour = new WorkerTeam(2);
        for (int round = 0; round < 5; round++)
        {
            team.For(30, (_, _) => { });
            Assert.True(SpinWait.SpinUntil(() => team.SleepingWorkers == 2, TimeSpan.FromSeconds(30)));

            // What others do wakes nobody: who was woken and found nothing would have gone to sleep once more.
            int sleeps = team.Sleeps;
            for (int loop = 0; loop < 100; loop++)
            {
                neighbour.For(20, (_, _) => Thread.SpinWait(100));
            }

            Assert.Equal((2, sleeps), (team.SleepingWorkers, team.Sleeps));
        }
    }

    [LinuxFact]
    public void Threads_of_a_pinned_team_run_on_their_processors_alone_and_threads_they_start_anywhere()
    {
        var usable = ThreadAffinity.OfProcess();
        int[] processors = [.. Enumerable.Range(0, 3).Select(i => usable[^(1 + i % usable.Count)])];
        using var team = new WorkerTeam(3, processors);
        var seen = new IReadOnlyList<int>[3];
        IReadOnlyList<int> started = [];

        // The caller stays pinned: it is a thread of the test's own.
        var caller = new Thread(() =>
        {
            team.PinCaller();
            using var all = new Barrier(3);
            team.For(3, (_, worker) =>
            {
                Assert.True(all.SignalAndWait(TimeSpan.FromSeconds(30)));
                seen[worker] = ThreadAffinity.OfCallingThread();
            });
            var child = new Thread(() => started = ThreadAffinity.OfCallingThread());
            child.Start();
            child.Join();
        });
        caller.Start();
        caller.Join();

        Assert.All(seen, (set, worker) => Assert.Equal([processors[worker]], set));
        Assert.Equal(usable, started);
        Assert.Equal(usable, ThreadAffinity.OfProcess());
    }

    [LinuxFact]
    public void A_processor_that_the_process_may_not_use_is_refused()
    {
        int missing = ThreadAffinity.OfProcess()[^1] + 1;
        var error = Assert.Throws<ArgumentException>(() => new WorkerTeam(2, [0, missing]));
        Assert.Contains($"processor {missing} is none of those that this process may use", error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new WorkerTeam(2, [0]));
    }
}

/// <summary>A fact about Linux.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class LinuxFactAttribute : FactAttribute
{
    public LinuxFactAttribute() => Skip = OperatingSystem.IsLinux() ? null : "threads are pinned on Linux only";
}
