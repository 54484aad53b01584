using System.Runtime.CompilerServices;
using Google.Protobuf;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;

namespace ScriptedServe.DataPathBenchmarks.Stub;

/// <summary>
/// An engine that costs next to nothing: it answers at once, and streams messages made beforehand, each sent by itself. The wire it is served
/// through is the real one.
/// </summary>
internal sealed class StubEngine(string id, string label, TickSource ticks) : IEngineApi
{
    private const int PageTokens = 16;

    /// <summary>What every generation answers.</summary>
    public static readonly GenerateChunk[] Chunks = [.. Enumerable.Range(0, Workload.Chunks).Select(Chunk)];

    public Task<PrepRecvReply> PrepRecvAsync(PrepRecvRequest request, CancellationToken cancellationToken) => Task.FromResult(new PrepRecvReply
    {
        ReservationId = request.RequestId,
        KvAddress = ByteString.CopyFromUtf8("an address of a reservation, about as long as they are; they name pages and transports, and carry an authentication code"),
        MatchedTokens = 0,
        End = request.End,
    });

    public Task<RemoteSendReply> RemoteSendAsync(RemoteSendRequest request, CancellationToken cancellationToken) => Task.FromResult(new RemoteSendReply
    {
        SentTokens = request.End - request.Begin,
        ComputedTokens = request.End - request.Begin,
        BytesSent = 1 << 20,
        Transport = "shm",
        Timings = new SendTimings(),
    });

    public async IAsyncEnumerable<GenerateChunk> StartGenerateAsync(StartGenerateRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var paceMs = (int)request.Sampling.Seed;
        foreach (var chunk in Chunks)
        {
            if (chunk != Chunks[0])
            {
                await ticks.NextAsync(paceMs, cancellationToken);
            }

            yield return chunk;
        }
    }

    public Task<ReleaseReply> ReleaseAsync(ReleaseRequest request, CancellationToken cancellationToken) => Task.FromResult(new ReleaseReply());

    public Task<AbortReply> AbortAsync(AbortRequest request, CancellationToken cancellationToken) => Task.FromResult(new AbortReply());

    public Task<EngineStatus> GetStatusAsync(GetStatusRequest request, CancellationToken cancellationToken) => Task.FromResult(Status());

    public async IAsyncEnumerable<EngineStatus> WatchStatusAsync(WatchStatusRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // Often enough not to be asked whether it lives.
        while (true)
        {
            yield return Status();
            await Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System, cancellationToken);
        }
    }

    public Task<DrainReply> DrainAsync(DrainRequest request, CancellationToken cancellationToken) => Task.FromResult(new DrainReply());

    private static GenerateChunk Chunk(int index)
    {
        var chunk = new GenerateChunk { TokenIds = { SyntheticModel.ByteTokens + index } };
        if (index == Workload.Chunks - 1)
        {
            chunk.FinishReason = FinishReason.Length;
            chunk.Usage = new Usage { PromptTokens = Workload.PromptWords, CompletionTokens = Workload.Chunks };
            chunk.Timings = new GenerateTimings();
        }

        return chunk;
    }

    private EngineStatus Status() => new()
    {
        EngineId = id,
        Epoch = 1,
        State = EngineState.Serving,
        Labels = { label },
        Model = new ModelInfo { Id = SyntheticModel.Name, VocabSize = new SyntheticModel().Vocab, ContextLength = new SyntheticModel().Context, Device = "stub" },
        Layout = new KvLayoutInfo { Fingerprint = "stub", PageTokens = PageTokens },
        Load = new EngineLoad { KvPagesTotal = 1 << 20, KvPagesFree = 1 << 20 },
    };
}
