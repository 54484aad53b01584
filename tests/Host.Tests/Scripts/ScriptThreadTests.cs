using Microsoft.AspNetCore.Http;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Host.Tests.Requests;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>The threads that wait for sockets are few and shared by all connections: neither a script that could take long nor a long prompt keeps one.</summary>
public sealed class ScriptThreadTests
{
    [Theory]
    [InlineData("await Fleet[0].PrepRecv(r); yield return One; await Fleet[0].PrepRecv(r); try { yield return One; } finally { await Fleet[0].PrepRecv(r); }", 2, 3)]
    [InlineData("await foreach (var chunk in Own(r)) { yield return chunk; } await Fleet[0].PrepRecv(r);", 4, 4)]
    public async Task A_script_that_could_take_long_runs_on_threads_of_the_pool_whoever_reads_its_stream(string body, int moves, int calls)
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut($$"""
            Chunk One => new Chunk { Tokens = new[] { 1 } };
            async IAsyncEnumerable<Chunk> HandleRequest(Request r) { {{body}} }
            async IAsyncEnumerable<Chunk> Own(Request r)
            {
                for (var i = 0; i < 3; i++)
                {
                    await Fleet[0].PrepRecv(r);
                    yield return One;
                }
            }
            """);
        var threads = new List<bool>();
        harness.Fleet.Engines[0].Prepares = () => threads.Add(Thread.CurrentThread.IsThreadPoolThread);
        using var lease = harness.Catalog.Acquire(null);
        IAsyncEnumerator<Chunk>? stream = null;
        await OnThreadOfItsOwn(() => stream = lease.HandleRequest(new FakeRequest(10)).GetAsyncEnumerator());
        for (var i = 0; i < moves; i++)
        {
            ValueTask<bool> move = default;
            await OnThreadOfItsOwn(() => move = stream!.MoveNextAsync());
            Assert.Equal(i < 3, await move);
        }

        var closing = ValueTask.CompletedTask;
        await OnThreadOfItsOwn(() => closing = stream!.DisposeAsync());
        await closing;
        Assert.Equal(calls, threads.Count);
        Assert.All(threads, Assert.True);
    }

    [Theory]
    [InlineData(10, false)]
    [InlineData(5000, true)]
    public async Task A_script_that_only_chooses_and_calls_runs_where_it_is_moved_unless_the_request_is_long(int tokens, bool isBroughtToPool)
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut("async IAsyncEnumerable<Chunk> HandleRequest(Request r) { await Fleet[0].PrepRecv(r); await foreach (var chunk in Fleet[0].StartGenerate(r)) yield return chunk; }");
        var thread = new TaskCompletionSource<bool>();
        harness.Fleet.Engines[0].Prepares = () => thread.SetResult(Thread.CurrentThread.IsThreadPoolThread);
        using var lease = harness.Catalog.Acquire(null);
        var stream = lease.HandleRequest(new FakeRequest(tokens)).GetAsyncEnumerator();
        ValueTask<bool> move = default;
        await OnThreadOfItsOwn(() => move = stream.MoveNextAsync());
        Assert.True(await move);
        Assert.Equal(isBroughtToPool, await thread.Task);
        await stream.DisposeAsync();
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("for (var i = 0; i < 3; i++) { }", true)]
    public async Task What_an_engine_answered_reaches_a_script_that_could_take_long_on_a_thread_of_the_pool(string between, bool isBroughtToPool)
    {
        var answer = new TaskCompletionSource();
        var asked = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
        var engine = new Engines.FakeEngine("a");
        engine.BeforeReply = (_, _) =>
        {
            if (asked.TrySetResult())
            {
                return answer.Task;
            }

            thread.TrySetResult(Thread.CurrentThread.IsThreadPoolThread);
            return Task.CompletedTask;
        };
        await using var world = await ScriptedWorld.WithAsync(
            $"async IAsyncEnumerable<Chunk> HandleRequest(Request r) {{ await Fleet[0].PrepRecv(r, 1); {between} await Fleet[0].PrepRecv(r, 2); await foreach (var chunk in Fleet[0].StartGenerate(r)) yield return chunk; }}", [engine]);
        var running = world.World.RunAsync(world.World.Spec());
        await asked.Task;
        await OnThreadOfItsOwn(answer.SetResult);
        Assert.Equal(isBroughtToPool, await thread.Task);
        await running;
    }

    [Theory]
    [InlineData(10, false)]
    [InlineData(5000, true)]
    public async Task What_follows_a_long_body_runs_on_a_thread_of_the_pool(int letters, bool isBroughtToPool)
    {
        var context = new DefaultHttpContext { Request = { Body = new MemoryStream([.. "{\"a\":\""u8, .. Enumerable.Repeat((byte)'a', letters), .. "\"}"u8]) } };
        var reading = Task.FromResult(false);
        await OnThreadOfItsOwn(() => reading = ReadAsync());
        Assert.Equal(isBroughtToPool, await reading);

        async Task<bool> ReadAsync()
        {
            using var body = await RequestBody.ReadAsync(context.Request, maxBytes: 10_000, CancellationToken.None);
            return Thread.CurrentThread.IsThreadPoolThread;
        }
    }

    /// <summary>As what a socket brings is dealt with.</summary>
    private static Task OnThreadOfItsOwn(Action action)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() =>
        {
            try
            {
                action();
                done.SetResult();
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        }).Start();
        return done.Task;
    }
}
