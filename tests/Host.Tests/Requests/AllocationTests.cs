using System.IO.Pipelines;
using System.Threading.Tasks.Sources;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire.Server;
using ScriptedServe.Host.Models;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Tests.Engines;
using ScriptedServe.Tests.Support;
using Sampling = ScriptedServe.Scripting.Sampling;

namespace ScriptedServe.Host.Tests.Requests;

/// <summary>A gate on what the host allocates for each token, from the engine's client to the bytes for the network.</summary>
public sealed class AllocationTests
{
    private const int Warm = 3_000;
    private const int Measured = 1_000;
    private const int Blocks = 8;

    [Theory]
    [InlineData("data_parallel")]
    [InlineData("pd_disagg")]
    public async Task A_token_on_its_way_to_the_client_allocates_nothing(string router)
    {
        await using var world = await ScriptedWorld.WithAsync(await File.ReadAllTextAsync(TestPaths.InRepository("scripts", router + ".csx")), engines: []);
        var engines = new[] { new PushedEngine("a"), new PushedEngine("b") };
        await world.World.AttachAsync("engine-0", engines[0], "prefill");
        await world.World.AttachAsync("engine-1", engines[1], "decode");
        var model = ModelFolder.Load("synthetic:vocab=1000", world.World.Time);
        var spec = new RequestSpec(
            "req-1", Enumerable.Range(0, 20).ToArray(), new Sampling { MaxTokens = 1 << 20 }, new Dictionary<string, string>(), null, null);

        // Off the test's own context, which would take every continuation to another thread.
        var (bytes, written) = await Task.Run(async () =>
        {
            await using var choice = new Choice(0, world.World.Runner.Start(spec), model.Tokenizer, [], withLogprobs: false);
            var body = new CountingWriter();
            using var sse = new SseWriter(body);
            var format = new ChatFormat(new ResponseHead("chatcmpl-1", 1, "synthetic", "fp"), model.Tokenizer, false, false, 1);
            using var stop = new CancellationTokenSource();
            var pump = StreamPump.PumpAsync(
                choice.Pieces,
                piece =>
                {
                    format.WritePiece(sse, piece);
                    return sse.UnflushedBytes >= 16 << 10;
                },
                sse.FlushAsync,
                stop.Token);
            var engine = engines.Single(engine => engine.Tokens.IsAwaited);
            Push(engine, Warm);

            // What each token allocates shows in every block; what the runtime does once, as when it compiles anew, in one of them.
            var allocated = long.MaxValue;
            var writtenBefore = body.Written;
            for (var block = 0; block < Blocks; block++)
            {
                var before = GC.GetAllocatedBytesForCurrentThread();
                Push(engine, Measured);
                allocated = Math.Min(allocated, GC.GetAllocatedBytesForCurrentThread() - before);
            }

            var measured = body.Written - writtenBefore;
            await stop.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pump);
            return (allocated, measured);
        });

        Assert.True(written > Blocks * Measured * 100, $"{written} bytes were written");
        Assert.True(bytes < Measured, $"{bytes / (double)Measured} bytes are allocated for each token");
    }

    private static void Push(PushedEngine engine, int count)
    {
        for (var i = 0; i < count; i++)
        {
            engine.Tokens.Push(SyntheticModel.ByteTokens + (i % 700));
        }
    }

    /// <summary>An engine whose tokens come when the test says so, and are taken on to their end before that returns.</summary>
    private sealed class PushedEngine(string id) : IEngineApi
    {
        private readonly FakeEngine _inner = new(id);

        public PushedTokens Tokens { get; } = new();

        public Task<PrepRecvReply> PrepRecvAsync(PrepRecvRequest request, CancellationToken cancellationToken) => _inner.PrepRecvAsync(request, cancellationToken);

        public Task<RemoteSendReply> RemoteSendAsync(RemoteSendRequest request, CancellationToken cancellationToken) => _inner.RemoteSendAsync(request, cancellationToken);

        public IAsyncEnumerable<GenerateChunk> StartGenerateAsync(StartGenerateRequest request, CancellationToken cancellationToken) => throw new NotSupportedException();

        public IAsyncEnumerable<GenerateItem> StreamGenerateAsync(StartGenerateRequest request, CancellationToken cancellationToken) => Tokens;

        public Task<ReleaseReply> ReleaseAsync(ReleaseRequest request, CancellationToken cancellationToken) => _inner.ReleaseAsync(request, cancellationToken);

        public Task<AbortReply> AbortAsync(AbortRequest request, CancellationToken cancellationToken) => _inner.AbortAsync(request, cancellationToken);

        public Task<EngineStatus> GetStatusAsync(GetStatusRequest request, CancellationToken cancellationToken) => _inner.GetStatusAsync(request, cancellationToken);

        public IAsyncEnumerable<EngineStatus> WatchStatusAsync(WatchStatusRequest request, CancellationToken cancellationToken) => _inner.WatchStatusAsync(request, cancellationToken);

        public Task<DrainReply> DrainAsync(DrainRequest request, CancellationToken cancellationToken) => _inner.DrainAsync(request, cancellationToken);
    }

    private sealed class PushedTokens : IAsyncEnumerable<GenerateItem>, IAsyncEnumerator<GenerateItem>, IValueTaskSource<bool>
    {
        private ManualResetValueTaskSourceCore<bool> _next;
        private CancellationTokenRegistration _cancelled;

        public bool IsAwaited { get; private set; }

        public GenerateItem Current { get; private set; }

        public IAsyncEnumerator<GenerateItem> GetAsyncEnumerator(CancellationToken cancellationToken = default)
        {
            _cancelled = cancellationToken.Register(() => _next.SetException(new OperationCanceledException()));
            return this;
        }

        public ValueTask<bool> MoveNextAsync()
        {
            _next.Reset();
            IsAwaited = true;
            return new ValueTask<bool>(this, _next.Version);
        }

        public void Push(int token)
        {
            Current = new GenerateItem(token, null);
            _next.SetResult(true);
        }

        public ValueTask DisposeAsync() => _cancelled.DisposeAsync();

        public bool GetResult(short token) => _next.GetResult(token);

        public ValueTaskSourceStatus GetStatus(short token) => _next.GetStatus(token);

        public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _next.OnCompleted(continuation, state, token, flags);
    }

    /// <summary>Counts what is written and forgets it.</summary>
    private sealed class CountingWriter : PipeWriter
    {
        private readonly byte[] _buffer = new byte[64 << 10];

        public long Written { get; private set; }

        public override void Advance(int bytes) => Written += bytes;

        public override void CancelPendingFlush()
        {
        }

        public override void Complete(Exception? exception = null)
        {
        }

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default) => ValueTask.FromResult(default(FlushResult));

        public override Memory<byte> GetMemory(int sizeHint = 0) => _buffer;

        public override Span<byte> GetSpan(int sizeHint = 0) => _buffer;
    }
}
