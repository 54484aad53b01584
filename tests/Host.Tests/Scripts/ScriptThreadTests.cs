using Microsoft.AspNetCore.Http;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>The threads that wait for sockets are few and shared by all connections: neither a script nor a long prompt keeps one.</summary>
public sealed class ScriptThreadTests
{
    [Theory]
    [InlineData("await Fleet[0].PrepRecv(r); yield return One; await Fleet[0].PrepRecv(r); try { yield return One; } finally { await Fleet[0].PrepRecv(r); }", 2, 3)]
    [InlineData("await foreach (var chunk in Own(r)) { yield return chunk; } await Fleet[0].PrepRecv(r);", 4, 4)]
    public async Task A_script_runs_on_threads_of_the_pool_whoever_reads_its_stream(string body, int moves, int calls)
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

    [Fact]
    public async Task What_follows_a_body_runs_on_a_thread_of_the_pool()
    {
        var context = new DefaultHttpContext { Request = { Body = new MemoryStream("{}"u8.ToArray()) } };
        var reading = Task.FromResult(false);
        await OnThreadOfItsOwn(() => reading = ReadAsync());
        Assert.True(await reading);

        async Task<bool> ReadAsync()
        {
            using var body = await RequestBody.ReadAsync(context.Request, maxBytes: 100, CancellationToken.None);
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
