using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Google.Protobuf;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using EngineState = ScriptedServe.Contracts.V1.EngineState;

namespace ScriptedServe.Host.Tests.Engines;

/// <summary>
/// An engine without a model: it keeps reservations and running generations as a real one does, so that tests can ask what is left.
/// Token i of a generation is 100 + i.
/// </summary>
internal sealed class FakeEngine(string id) : IEngineApi
{
    private readonly Lock gate = new();
    private readonly Dictionary<string, string> reservations = [];
    private readonly List<Channel<EngineStatus>> watchers = [];
    private TaskCompletionSource died = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int nextReservation;
    private int generating;

    public ConcurrentQueue<(string Call, IMessage Message)> Calls { get; } = new();

    public EngineStatus Status { get; set; } = new()
    {
        EngineId = id,
        Epoch = 1,
        State = EngineState.Serving,
        Model = new ModelInfo { Id = "tiny", VocabSize = 1000, ContextLength = 2048 },
        Layout = new KvLayoutInfo { Fingerprint = "layout-a", PageTokens = 4 },
        Load = new EngineLoad { KvPagesTotal = 64, KvPagesFree = 64 },
    };

    /// <summary>Tokens the engine's prefix cache answers to PrepRecv with.</summary>
    public int Matched { get; set; }

    /// <summary>Awaited before each token after the first; null does not wait.</summary>
    public Func<int, CancellationToken, Task>? BeforeToken { get; set; }

    /// <summary>Awaited before PrepRecv and RemoteSend answer, inside the engine: a reservation is made before.</summary>
    public Func<string, CancellationToken, Task>? BeforeReply { get; set; }

    public RpcException? Refuses { get; set; }

    public int Reservations
    {
        get
        {
            lock (gate)
            {
                return reservations.Count;
            }
        }
    }

    public int Generating => Volatile.Read(ref generating);

    public IEnumerable<string> CallNames => Calls.Select(call => call.Call);

    public T Last<T>() => Calls.Select(call => call.Message).OfType<T>().Last();

    /// <summary>The process dies: everything under way breaks, nothing is held any more.</summary>
    public void Die()
    {
        died.TrySetResult();
        lock (gate)
        {
            reservations.Clear();
            foreach (var watcher in watchers)
            {
                watcher.Writer.TryComplete(Gone());
            }

            watchers.Clear();
        }
    }

    public void Revive()
    {
        died = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Status.Epoch++;
    }

    public void Report(Action<EngineStatus> change)
    {
        lock (gate)
        {
            var status = Status.Clone();
            change(status);
            foreach (var watcher in watchers)
            {
                watcher.Writer.TryWrite(status.Clone());
            }
        }
    }

    public async Task<PrepRecvReply> PrepRecvAsync(PrepRecvRequest request, CancellationToken cancellationToken)
    {
        Enter("PrepRecv", request);
        var reservation = $"{id}/r{Interlocked.Increment(ref nextReservation)}";
        lock (gate)
        {
            reservations[reservation] = request.RequestId;
        }

        await ReplyAsync("PrepRecv", cancellationToken);
        return new PrepRecvReply
        {
            ReservationId = reservation,
            KvAddress = ByteString.CopyFromUtf8(reservation),
            MatchedTokens = Math.Min(Matched, request.End),
            End = request.End,
        };
    }

    public async Task<RemoteSendReply> RemoteSendAsync(RemoteSendRequest request, CancellationToken cancellationToken)
    {
        Enter("RemoteSend", request);
        await ReplyAsync("RemoteSend", cancellationToken);
        var sent = request.End - request.Begin;
        return new RemoteSendReply { SentTokens = sent, ComputedTokens = sent, BytesSent = sent * 1000L, Transport = "shm" };
    }

    public async IAsyncEnumerable<GenerateChunk> StartGenerateAsync(StartGenerateRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        Enter("StartGenerate", request);
        if (request.ReservationId.Length > 0)
        {
            lock (gate)
            {
                if (!reservations.Remove(request.ReservationId))
                {
                    throw new RpcException(RpcStatus.NotFound, $"no reservation {request.ReservationId}");
                }
            }
        }

        Interlocked.Increment(ref generating);
        try
        {
            var max = request.Sampling.MaxTokens;
            var done = request.Resume is { } resume ? request.TokenIds.Count - resume.PromptTokens : 0;
            for (var i = done; i < max; i++)
            {
                if (BeforeToken is { } wait)
                {
                    await GuardAsync(token => wait(i, token), cancellationToken);
                }

                var chunk = new GenerateChunk { TokenIds = { 100 + i } };
                if (i == max - 1)
                {
                    chunk.FinishReason = FinishReason.Length;
                    chunk.Usage = new Usage { PromptTokens = request.TokenIds.Count, CompletionTokens = max, CachedTokens = request.Begin };
                }

                yield return chunk;
            }
        }
        finally
        {
            Interlocked.Decrement(ref generating);
        }
    }

    public Task<ReleaseReply> ReleaseAsync(ReleaseRequest request, CancellationToken cancellationToken)
    {
        Enter("Release", request);
        lock (gate)
        {
            return reservations.Remove(request.ReservationId)
                ? Task.FromResult(new ReleaseReply())
                : throw new RpcException(RpcStatus.NotFound, $"no reservation {request.ReservationId}");
        }
    }

    public Task<AbortReply> AbortAsync(AbortRequest request, CancellationToken cancellationToken)
    {
        Enter("Abort", request);
        lock (gate)
        {
            foreach (var held in reservations.Where(held => held.Value == request.RequestId).ToList())
            {
                reservations.Remove(held.Key);
            }
        }

        return Task.FromResult(new AbortReply());
    }

    public Task<EngineStatus> GetStatusAsync(GetStatusRequest request, CancellationToken cancellationToken)
    {
        Enter("GetStatus", request);
        return Task.FromResult(Status.Clone());
    }

    public async IAsyncEnumerable<EngineStatus> WatchStatusAsync(WatchStatusRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        Enter("WatchStatus", request);
        var channel = Channel.CreateUnbounded<EngineStatus>();
        channel.Writer.TryWrite(Status.Clone());
        lock (gate)
        {
            watchers.Add(channel);
        }

        await foreach (var status in channel.Reader.ReadAllAsync(cancellationToken))
        {
            yield return status;
        }
    }

    public Task<DrainReply> DrainAsync(DrainRequest request, CancellationToken cancellationToken)
    {
        Enter("Drain", request);
        return Task.FromResult(new DrainReply());
    }

    private static RpcException Gone() => new(RpcStatus.Unavailable, "the connection broke");

    private void Enter(string call, IMessage message)
    {
        if (died.Task.IsCompleted)
        {
            throw new RpcException(RpcStatus.Unavailable, "connection refused");
        }

        Calls.Enqueue((call, message));
        if (Refuses is { } refusal && call is ("PrepRecv" or "RemoteSend" or "StartGenerate"))
        {
            throw refusal;
        }
    }

    private Task ReplyAsync(string call, CancellationToken cancellationToken) =>
        BeforeReply is { } wait ? GuardAsync(token => wait(call, token), cancellationToken) : Task.CompletedTask;

    private async Task GuardAsync(Func<CancellationToken, Task> wait, CancellationToken cancellationToken)
    {
        var waiting = wait(cancellationToken);
        if (await Task.WhenAny(waiting, died.Task) != waiting)
        {
            throw Gone();
        }

        await waiting;
    }
}
