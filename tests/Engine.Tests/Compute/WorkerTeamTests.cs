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
}
