using System.Globalization;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Google.Protobuf;
using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Contracts.Tests.Wire;

/// <summary>
/// An engine whose request ids say what it does: <c>echo</c>; <c>fail STATUS MESSAGE</c>; <c>throw</c>; <c>hang</c>;
/// for streams <c>count N [fail STATUS MESSAGE]</c> and <c>hang N</c> (N chunks, then nothing).
/// </summary>
internal sealed class ScriptedEngine : IEngineApi
{
    private readonly Channel<string> _events = Channel.CreateUnbounded<string>();

    /// <summary>Takes the place of the scripted StartGenerate.</summary>
    public Func<StartGenerateRequest, CancellationToken, IAsyncEnumerable<GenerateChunk>>? OnStartGenerate { get; set; }

    /// <summary>Called by PrepRecv in place of its script.</summary>
    public Func<PrepRecvRequest, CancellationToken, Task<PrepRecvReply>>? OnPrepRecv { get; set; }

    /// <summary>Waits for the next thing that happened: "hangs" when a call began to wait, "cancelled" when it was given up, "disposed" at a stream's end.</summary>
    public async Task<string> NextEventAsync() => await _events.Reader.ReadAsync().AsTask().Within();

    public async Task<PrepRecvReply> PrepRecvAsync(PrepRecvRequest request, CancellationToken cancellationToken)
    {
        if (OnPrepRecv is { } onPrepRecv)
        {
            return await onPrepRecv(request, cancellationToken);
        }

        await RunScriptAsync(request.RequestId, cancellationToken);
        return new()
        {
            ReservationId = "r-1",
            KvAddress = ByteString.CopyFrom([.. Enumerable.Range(0, 256).Select(i => (byte)i)]),
            MatchedTokens = request.TokenIds.Count,
            End = request.TokenIds.Count + request.End,
        };
    }

    public async Task<RemoteSendReply> RemoteSendAsync(RemoteSendRequest request, CancellationToken cancellationToken)
    {
        await RunScriptAsync(request.RequestId, cancellationToken);
        return new() { SentTokens = 5 };
    }

    public async IAsyncEnumerable<GenerateChunk> StartGenerateAsync(StartGenerateRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        try
        {
            if (OnStartGenerate is { } onStartGenerate)
            {
                await foreach (var chunk in onStartGenerate(request, cancellationToken))
                {
                    yield return chunk;
                }

                yield break;
            }

            var words = request.RequestId.Split(' ');
            if (words is not ["count" or "hang", var number, ..])
            {
                await RunScriptAsync(request.RequestId, cancellationToken);
                yield break;
            }

            var count = int.Parse(number, CultureInfo.InvariantCulture);
            for (var i = 0; i < count; i++)
            {
                var isLast = i == count - 1 && words is ["count", _];
                yield return new() { TokenIds = { i }, FinishReason = isLast ? FinishReason.Length : FinishReason.Unspecified };
            }

            await RunScriptAsync(words[0] == "hang" ? "hang" : string.Join(' ', words.Skip(2)), cancellationToken);
        }
        finally
        {
            _events.Writer.TryWrite("disposed");
        }
    }

    public async Task<ReleaseReply> ReleaseAsync(ReleaseRequest request, CancellationToken cancellationToken)
    {
        await RunScriptAsync(request.ReservationId, cancellationToken);
        return new();
    }

    public async Task<AbortReply> AbortAsync(AbortRequest request, CancellationToken cancellationToken)
    {
        await RunScriptAsync(request.RequestId, cancellationToken);
        return new();
    }

    public Task<EngineStatus> GetStatusAsync(GetStatusRequest request, CancellationToken cancellationToken) =>
        Task.FromResult(new EngineStatus { EngineId = "scripted", Epoch = ulong.MaxValue, Labels = { "prefill", "decode" } });

    public async IAsyncEnumerable<EngineStatus> WatchStatusAsync(WatchStatusRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        yield return await GetStatusAsync(new(), cancellationToken);
        await RunScriptAsync("hang", cancellationToken);
    }

    public Task<DrainReply> DrainAsync(DrainRequest request, CancellationToken cancellationToken) => Task.FromResult(new DrainReply());

    private async Task RunScriptAsync(string script, CancellationToken cancellationToken)
    {
        switch (script.Split(' ', 3))
        {
            case ["fail", var status, var message]:
                var code = (RpcStatus)int.Parse(status, CultureInfo.InvariantCulture);
                throw new RpcException(code, message, code == RpcStatus.ResourceExhausted ? TimeSpan.FromMilliseconds(1500) : null);
            case ["throw"]:
                throw new InvalidOperationException("a secret of the engine's inside");
            case ["hang"]:
                _events.Writer.TryWrite("hangs");
                try
                {
                    await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancellationToken);
                }
                finally
                {
                    _events.Writer.TryWrite("cancelled");
                }

                break;
        }
    }
}
