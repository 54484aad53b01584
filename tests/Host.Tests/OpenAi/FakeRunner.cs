using System.Runtime.CompilerServices;
using System.Text;
using System.Threading.Channels;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.OpenAi;

/// <summary>
/// A runner that says a given text token by token (tokens are bytes), and counts what it holds. Its routers are swapped at each start:
/// one that names no version finds the next.
/// </summary>
internal sealed class FakeRunner : IRequestRunner
{
    private readonly Channel<string> _events = Channel.CreateUnbounded<string>();
    private int _held;
    private int _version;

    /// <summary>What a request is answered with; cut at its MaxTokens.</summary>
    public Func<RequestSpec, string> Reply { get; set; } = _ => "Hello, wörld!";

    /// <summary>Takes the place of saying <see cref="Reply"/>.</summary>
    public Func<RequestSpec, CancellationToken, IAsyncEnumerable<Chunk>>? OnRun { get; set; }

    public List<RequestSpec> Started { get; } = [];

    /// <summary>Requests started and not yet disposed.</summary>
    public int Held => Volatile.Read(ref _held);

    /// <summary>Tokens given out by <see cref="Say"/>.</summary>
    public int TokensSaid { get; private set; }

    /// <summary>Waits for "cancelled" (an enumeration was) or "disposed" (a request was).</summary>
    public async Task<string> NextEventAsync() => await _events.Reader.ReadAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(30));

    public void Tell(string what) => _events.Writer.TryWrite(what);

    public RunningRequest Start(RequestSpec spec)
    {
        _ = RouterNames.TryParse(spec.Router ?? "plain", out var name, out var version);
        if (name is not ("plain" or "other"))
        {
            throw new RouterNotFoundException($"There is no router '{spec.Router}'.");
        }

        lock (Started)
        {
            Started.Add(spec);
        }

        Interlocked.Increment(ref _held);
        return new Running(this, spec, $"{name}@{version?.Number ?? Interlocked.Increment(ref _version)}");
    }

    public async IAsyncEnumerable<Chunk> Say(RequestSpec spec, string text, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        int[] tokens = [.. Encoding.UTF8.GetBytes(text).Select(b => (int)b)];
        var isCut = tokens.Length >= spec.Sampling.MaxTokens;
        tokens = isCut ? tokens[..spec.Sampling.MaxTokens] : [.. tokens, TableTokenizer.End];
        for (var i = 0; i < tokens.Length; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            TokensSaid++;
            var isLast = i == tokens.Length - 1;
            yield return new()
            {
                Tokens = new[] { tokens[i] },
                Logprobs = spec.Sampling.Logprobs is { } top ? [Logprob(tokens[i], i, top)] : [],
                FinishReason = !isLast ? null : isCut ? FinishReason.Length : FinishReason.Stop,
                Usage = isLast ? new(spec.PromptTokens.Length, tokens.Length, 2) : null,
            };
            await Task.Yield();
        }
    }

    private static TokenLogprob Logprob(int token, int position, int top) =>
        new(-position / 4f, [.. Enumerable.Range(0, top).Select(k => ((token + k) % 256, k == 0 ? -position / 4f : float.NegativeInfinity))]);

    private sealed class Running(FakeRunner runner, RequestSpec spec, string router) : RunningRequest
    {
        private bool _isDisposed;

        public override string Router => router;

        public override async IAsyncEnumerable<Chunk> Chunks([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            using var told = cancellationToken.Register(() => runner.Tell("cancelled"));
            await foreach (var chunk in runner.OnRun?.Invoke(spec, cancellationToken) ?? runner.Say(spec, runner.Reply(spec), cancellationToken))
            {
                yield return chunk;
            }
        }

        public override ValueTask DisposeAsync()
        {
            Assert.False(_isDisposed, "A running request was disposed twice.");
            _isDisposed = true;
            Interlocked.Decrement(ref runner._held);
            runner.Tell("disposed");
            return ValueTask.CompletedTask;
        }
    }
}
