using System.Runtime.CompilerServices;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Server;
using static ScriptedServe.Contracts.Tests.Wire.WireTesting;

namespace ScriptedServe.Contracts.Tests.Wire;

/// <summary>Our client against our server.</summary>
public class CallTests
{
    private readonly ScriptedEngine _engine = new();

    [Theory]
    [InlineData("tcp")]
    [InlineData("unix")]
    public async Task Every_method_reaches_the_engine_and_its_reply_comes_back(string transport)
    {
        await using var server = await ServeAsync(_engine, Listen(transport));
        using var client = Call(server.Address);
        var none = CancellationToken.None;

        var prepared = await client.PrepRecvAsync(new() { RequestId = "echo", TokenIds = { 5, 6, 7 }, End = -1 }, none).Within();
        Assert.Equal(("r-1", 3, 2, 256), (prepared.ReservationId, prepared.MatchedTokens, prepared.End, prepared.KvAddress.Length));
        Assert.Equal(5, (await client.RemoteSendAsync(new() { RequestId = "echo" }, none).Within()).SentTokens);
        Assert.Equal([0, 1, 2], (await ToListAsync(client.StartGenerateAsync(new() { RequestId = "count 3" }, none)).Within()).SelectMany(c => c.TokenIds));
        Assert.NotNull(await client.ReleaseAsync(new() { ReservationId = "r-1" }, none).Within());
        Assert.NotNull(await client.AbortAsync(new() { RequestId = "echo" }, none).Within());
        Assert.Equal(ulong.MaxValue, (await client.GetStatusAsync(new(), none).Within()).Epoch);
        Assert.NotNull(await client.DrainAsync(new(), none).Within());
        await foreach (var status in client.WatchStatusAsync(new(), none))
        {
            Assert.Equal(["prefill", "decode"], status.Labels);
            break;
        }
    }

    [Fact]
    public async Task Every_status_comes_back_with_its_message_and_retry_hint()
    {
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);
        foreach (var status in Enum.GetValues<RpcStatus>().Where(s => s != RpcStatus.Ok))
        {
            var message = $"pages: 100% gone,\nwait … für {status}";
            var unary = await FailsAsync(client.ReleaseAsync(new() { ReservationId = $"fail {(int)status} {message}" }, CancellationToken.None));
            var streamed = await FailsAsync(ToListAsync(client.StartGenerateAsync(new() { RequestId = $"count 2 fail {(int)status} {message}" }, CancellationToken.None)));

            Assert.All([unary, streamed], e => Assert.Equal((status, message), (e.Status, e.Message)));
            Assert.Equal(status == RpcStatus.ResourceExhausted ? TimeSpan.FromSeconds(1.5) : null, unary.RetryAfter);
            Assert.Equal(unary.RetryAfter, streamed.RetryAfter);
        }
    }

    [Fact]
    public async Task A_failure_after_chunks_comes_after_the_chunks()
    {
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);
        var tokens = new List<int>();

        var failure = await FailsAsync(Task.Run(async () =>
        {
            await foreach (var chunk in client.StartGenerateAsync(new() { RequestId = "count 3 fail 10 preempted" }, CancellationToken.None))
            {
                tokens.AddRange(chunk.TokenIds);
            }
        }));

        Assert.Equal(RpcStatus.Aborted, failure.Status);
        Assert.Equal([0, 1, 2], tokens);
    }

    [Fact]
    public async Task An_exception_of_the_engine_is_INTERNAL_without_its_inside_and_the_server_goes_on()
    {
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);

        var failure = await FailsAsync(client.ReleaseAsync(new() { ReservationId = "throw" }, CancellationToken.None));

        Assert.Equal(RpcStatus.Internal, failure.Status);
        Assert.DoesNotContain("secret", failure.Message);
        Assert.NotNull(await client.GetStatusAsync(new(), CancellationToken.None).Within());
    }

    [Fact]
    public async Task Cancelling_a_call_cancels_it_in_the_engine()
    {
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);
        using var cancel = new CancellationTokenSource();

        var call = client.AbortAsync(new() { RequestId = "hang" }, cancel.Token);
        Assert.Equal("hangs", await _engine.NextEventAsync());
        await cancel.CancelAsync();

        Assert.Equal(cancel.Token, (await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call.Within())).CancellationToken);
        Assert.Equal("cancelled", await _engine.NextEventAsync());
    }

    [Fact]
    public async Task Leaving_a_stream_cancels_and_disposes_it_in_the_engine()
    {
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);
        await foreach (var _ in client.StartGenerateAsync(new() { RequestId = "hang 1" }, CancellationToken.None))
        {
            Assert.Equal("hangs", await _engine.NextEventAsync());
            break;
        }

        Assert.Equal("cancelled", await _engine.NextEventAsync());
        Assert.Equal("disposed", await _engine.NextEventAsync());
    }

    [Fact]
    public async Task A_client_that_goes_away_cancels_its_calls_in_the_engine()
    {
        await using var server = await ServeAsync(_engine);
        var client = Call(server.Address);
        var call = ToListAsync(client.StartGenerateAsync(new() { RequestId = "hang 2" }, CancellationToken.None));
        Assert.Equal("hangs", await _engine.NextEventAsync());

        client.Dispose();

        Assert.Equal(RpcStatus.Unavailable, (await FailsAsync(call)).Status);
        Assert.Equal("cancelled", await _engine.NextEventAsync());
        Assert.Equal(RpcStatus.Unavailable, (await FailsAsync(client.GetStatusAsync(new(), CancellationToken.None))).Status);
    }

    [Fact]
    public async Task The_server_ends_a_call_at_its_deadline()
    {
        var serverTime = new FakeTimeProvider();
        await using var server = await ServeAsync(_engine, time: serverTime);
        // The client's own clock stands still: what it sees comes from the server.
        using var client = Call(server.Address, new() { Deadlines = new() { Abort = TimeSpan.FromSeconds(60), StartGenerate = TimeSpan.FromSeconds(60) } }, new FakeTimeProvider());

        var unary = client.AbortAsync(new() { RequestId = "hang" }, CancellationToken.None);
        Assert.Equal("hangs", await _engine.NextEventAsync());
        serverTime.Advance(TimeSpan.FromSeconds(61));
        Assert.Equal(RpcStatus.DeadlineExceeded, (await FailsAsync(unary)).Status);
        Assert.Equal("cancelled", await _engine.NextEventAsync());

        var stream = ToListAsync(client.StartGenerateAsync(new() { RequestId = "hang 2" }, CancellationToken.None));
        Assert.Equal("hangs", await _engine.NextEventAsync());
        serverTime.Advance(TimeSpan.FromSeconds(61));
        Assert.Equal(RpcStatus.DeadlineExceeded, (await FailsAsync(stream)).Status);
        Assert.Equal("cancelled", await _engine.NextEventAsync());
    }

    [Fact]
    public async Task The_client_gives_up_at_its_deadline_and_the_engine_learns_of_it()
    {
        var clientTime = new FakeTimeProvider();
        await using var server = await ServeAsync(_engine, time: new FakeTimeProvider());
        using var client = Call(server.Address, new() { Deadlines = new() { Abort = TimeSpan.FromSeconds(60) } }, clientTime);

        var call = client.AbortAsync(new() { RequestId = "hang" }, CancellationToken.None);
        Assert.Equal("hangs", await _engine.NextEventAsync());
        clientTime.Advance(TimeSpan.FromSeconds(60));

        Assert.Equal(RpcStatus.DeadlineExceeded, (await FailsAsync(call)).Status);
        Assert.Equal("cancelled", await _engine.NextEventAsync());
    }

    [Fact]
    public async Task A_chunk_arrives_before_the_next_one_is_made()
    {
        var received = new SemaphoreSlim(0);
        _engine.OnStartGenerate = (_, cancellationToken) => Produce(cancellationToken);
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);

        var reading = Task.Run(async () =>
        {
            await foreach (var _ in client.StartGenerateAsync(new(), CancellationToken.None))
            {
                received.Release();
            }
        });
        await reading.Within();

        async IAsyncEnumerable<GenerateChunk> Produce([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            for (var i = 0; i < 20; i++)
            {
                yield return new() { TokenIds = { i } };
                await received.WaitAsync(cancellationToken);
            }
        }
    }

    [Fact]
    public async Task A_generation_streamed_as_items_has_the_same_chunks_and_failures()
    {
        GenerateChunk[] chunks =
        [
            new() { TokenIds = { 7 } }, new() { TokenIds = { 0 } }, new() { TokenIds = { int.MaxValue } }, new() { TokenIds = { 1, 2 } },
            new() { TokenIds = { 3 }, Logprobs = { new TokenLogprob { Logprob = -1 } } }, new(),
            new() { TokenIds = { 4 }, FinishReason = FinishReason.Stop, Usage = new() { CompletionTokens = 6 } },
        ];
        _engine.OnStartGenerate = (_, _) => chunks.ToAsyncEnumerable();
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);

        var items = await client.StreamGenerateAsync(new(), CancellationToken.None).ToListAsync().AsTask().Within();
        Assert.Equal(chunks, items.Select(item => item.Chunk ?? new() { TokenIds = { item.Token } }));
        Assert.Equal([true, true, true, false, false, false, false], items.Select(item => item.Chunk is null));

        _engine.OnStartGenerate = null;
        var failed = await FailsAsync(client.StreamGenerateAsync(new() { RequestId = "count 3 fail 8 full" }, CancellationToken.None).ToListAsync().AsTask());
        Assert.Equal((RpcStatus.ResourceExhausted, "full"), (failed.Status, failed.Message));
    }

    [Fact]
    public async Task A_reader_that_pauses_stops_the_producer_and_not_other_calls()
    {
        const int Chunks = 20_000;
        const int ChunkTokens = 4_000;
        var produced = 0;
        _engine.OnStartGenerate = (_, cancellationToken) => Produce(cancellationToken);
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);

        await using var chunks = client.StartGenerateAsync(new(), CancellationToken.None).GetAsyncEnumerator();
        Assert.True(await chunks.MoveNextAsync().AsTask().Within());
        for (var i = 0; i < 100; i++)
        {
            await client.GetStatusAsync(new(), CancellationToken.None).Within();
        }

        // 80 MB are on offer and the stream's window is far smaller.
        Assert.InRange(Volatile.Read(ref produced), 1, Chunks / 2);
        for (var i = 1; i < 1000; i++)
        {
            Assert.True(await chunks.MoveNextAsync().AsTask().Within());
            Assert.Equal(i, chunks.Current.TokenIds[0]);
        }

        async IAsyncEnumerable<GenerateChunk> Produce([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            for (var i = 0; i < Chunks; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                Volatile.Write(ref produced, i);
                yield return new() { TokenIds = { Enumerable.Repeat(1, ChunkTokens).Prepend(i) } };
            }

            await Task.CompletedTask;
        }
    }

    [Fact]
    public async Task A_deadline_ends_a_stream_whose_reader_pauses()
    {
        var time = new FakeTimeProvider();
        var disposed = new TaskCompletionSource();
        _engine.OnStartGenerate = (_, cancellationToken) => Produce(cancellationToken);
        await using var server = await ServeAsync(_engine, time: time);
        using var client = Call(server.Address, new() { Deadlines = new() { StartGenerate = TimeSpan.FromSeconds(9) } }, new FakeTimeProvider());
        await using var chunks = client.StartGenerateAsync(new(), CancellationToken.None).GetAsyncEnumerator();
        Assert.True(await chunks.MoveNextAsync().AsTask().Within());

        time.Advance(TimeSpan.FromSeconds(10));

        await disposed.Task.Within();
        await FailsAsync(Task.Run(async () =>
        {
            while (await chunks.MoveNextAsync())
            {
            }
        }));

        async IAsyncEnumerable<GenerateChunk> Produce([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            try
            {
                while (true)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    yield return new() { TokenIds = { Enumerable.Repeat(1, 4000) } };
                    await Task.Yield();
                }
            }
            finally
            {
                disposed.SetResult();
            }
        }
    }

    [Fact]
    public async Task More_streams_than_a_connection_takes_run_side_by_side()
    {
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);
        var streams = Enumerable.Range(0, 250).Select(_ => client.StartGenerateAsync(new() { RequestId = "hang 1" }, CancellationToken.None).GetAsyncEnumerator()).ToList();

        Assert.All(await Task.WhenAll(streams.Select(s => s.MoveNextAsync().AsTask())).Within(), Assert.True);

        await Task.WhenAll(streams.Select(s => s.DisposeAsync().AsTask())).Within();
    }

    [Fact]
    public async Task Large_messages_pass_and_larger_than_the_limit_are_refused_by_either_side()
    {
        await using var server = await ServeAsync(_engine, options: new() { MaxMessageBytes = 12 << 20 });
        using var client = Call(server.Address, new() { MaxMessageBytes = 1000 });
        PrepRecvRequest Request(int megabytes) => new() { RequestId = new string('x', megabytes << 20), TokenIds = { 1 } };

        Assert.Equal(1, (await client.PrepRecvAsync(Request(11), CancellationToken.None).Within()).MatchedTokens);

        var refused = await FailsAsync(client.PrepRecvAsync(Request(13), CancellationToken.None));
        Assert.Equal(RpcStatus.ResourceExhausted, refused.Status);
        Assert.Contains($"{12 << 20} (fixed: no setting changes it)", refused.Message);

        _engine.OnPrepRecv = (_, _) => Task.FromResult(new PrepRecvReply { ReservationId = new string('r', 1000) });
        var reply = await FailsAsync(client.PrepRecvAsync(new(), CancellationToken.None));
        Assert.Equal(RpcStatus.ResourceExhausted, reply.Status);
        Assert.Contains("1000 (fixed: no setting changes it)", reply.Message);
    }

    [Fact]
    public async Task A_call_without_the_token_is_UNAUTHENTICATED()
    {
        await using var server = await ServeAsync(_engine, options: new() { BearerToken = "sesame" });
        foreach (var wrong in new[] { null, "", "sesam", "sesamee", "Sesame" })
        {
            using var stranger = Call(server.Address, new() { BearerToken = wrong });
            Assert.Equal(RpcStatus.Unauthenticated, (await FailsAsync(stranger.GetStatusAsync(new(), CancellationToken.None))).Status);
        }

        using var friend = Call(server.Address, new() { BearerToken = "sesame" });
        Assert.NotNull(await friend.GetStatusAsync(new(), CancellationToken.None).Within());
    }

    [Fact]
    public async Task A_server_that_other_machines_can_reach_does_not_start_without_a_token()
    {
        var refused = await Assert.ThrowsAsync<InvalidOperationException>(() => ServeAsync(_engine, EngineAddress.Tcp("0.0.0.0", 0)));
        Assert.Contains("http://0.0.0.0:0", refused.Message);
        await using var server = await ServeAsync(_engine, EngineAddress.Tcp("0.0.0.0", 0), new RpcServerOptions { BearerToken = "t" });
        Assert.NotEqual(0, server.Address.Port);
    }
}
