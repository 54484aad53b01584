using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Engine.Tests.Fakes;

/// <summary>A generation as its caller sees it.</summary>
internal sealed record Generated(List<int> Tokens, List<TokenLogprob> Logprobs, FinishReason Reason, Usage? Usage, GenerateTimings? Timings);

/// <summary>Microserving calls in few words.</summary>
internal static class Calls
{
    public static int[] Prompt(int length, int seed = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(2, 32))];
    }

    public static Contracts.V1.Sampling Sampling(int maxTokens = 8, float temperature = 0, ulong seed = 0) =>
        new() { MaxTokens = maxTokens, Temperature = temperature, Seed = seed, IgnoreEos = true };

    public static StartGenerateRequest Generate(string id, int[] tokens, Contracts.V1.Sampling? sampling = null, string reservation = "", int? begin = null, int? resumeAfter = null)
    {
        var request = new StartGenerateRequest { RequestId = id, TokenIds = { tokens }, Sampling = sampling ?? Sampling(), ReservationId = reservation };
        if (begin is not null)
        {
            request.Begin = begin.Value;
        }

        if (resumeAfter is not null)
        {
            request.Resume = new ResumeState { PromptTokens = resumeAfter.Value };
        }

        return request;
    }

    public static PrepRecvRequest Prep(string id, int[] tokens, int? end = null, uint leaseMs = 0)
    {
        var request = new PrepRecvRequest { RequestId = id, TokenIds = { tokens }, LeaseMs = leaseMs };
        if (end is not null)
        {
            request.End = end.Value;
        }

        return request;
    }

    public static RemoteSendRequest Send(string id, int[] tokens, PrepRecvReply to, int? begin = null, int? end = null) => new()
    {
        RequestId = id,
        TokenIds = { tokens },
        KvAddress = to.KvAddress,
        Begin = begin ?? to.MatchedTokens,
        End = end ?? to.End,
    };

    /// <summary>Reads a generation to its end, or <paramref name="stopAfter"/> tokens of it.</summary>
    public static async Task<Generated> ReadAsync(
        this IEngineApi engine, StartGenerateRequest request, int? stopAfter = null, CancellationToken cancellationToken = default)
    {
        var (tokens, logprobs) = (new List<int>(), new List<TokenLogprob>());
        await foreach (var chunk in engine.StartGenerateAsync(request, cancellationToken))
        {
            tokens.AddRange(chunk.TokenIds);
            logprobs.AddRange(chunk.Logprobs.Select(logprob => logprob.Clone()));
            if (chunk.FinishReason != FinishReason.Unspecified)
            {
                return new Generated(tokens, logprobs, chunk.FinishReason, chunk.Usage, chunk.Timings);
            }

            if (tokens.Count >= stopAfter)
            {
                break;
            }
        }

        return new Generated(tokens, logprobs, FinishReason.Unspecified, null, null);
    }

    public static Task<PrepRecvReply> PrepAsync(this SimulatedEngine engine, PrepRecvRequest request, CancellationToken cancellationToken = default) =>
        engine.Reach(engine.Service.PrepRecvAsync(request, cancellationToken));

    public static Task<RemoteSendReply> SendAsync(this SimulatedEngine engine, RemoteSendRequest request, CancellationToken cancellationToken = default) =>
        engine.Reach(engine.Service.RemoteSendAsync(request, cancellationToken));

    public static Task<Generated> GenerateAsync(
        this SimulatedEngine engine, StartGenerateRequest request, int? stopAfter = null, CancellationToken cancellationToken = default) =>
        engine.Reach(engine.Service.ReadAsync(request, stopAfter, cancellationToken));

    public static Task ReleaseAsync(this SimulatedEngine engine, PrepRecvReply reservation) =>
        engine.Reach(engine.Service.ReleaseAsync(new ReleaseRequest { ReservationId = reservation.ReservationId }, CancellationToken.None));

    public static Task AbortAsync(this SimulatedEngine engine, string requestId) =>
        engine.Reach(engine.Service.AbortAsync(new AbortRequest { RequestId = requestId }, CancellationToken.None));
}
