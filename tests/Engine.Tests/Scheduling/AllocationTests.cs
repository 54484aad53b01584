using System.Buffers;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute.Synthetic;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Service;
using ScriptedServe.Engine.Tests.Fakes;

namespace ScriptedServe.Engine.Tests.Scheduling;

/// <summary>A gate on what the engine allocates for each token, from the plan to the bytes of the reply.</summary>
public sealed class AllocationTests
{
    private const int Sequences = 64;
    private const int PageTokens = 8;
    private const int Blocks = 8;

    /// <summary>Four pages of each sequence, so that growing and caching pages is in every block.</summary>
    private const int StepsOfBlock = 4 * PageTokens;

    public static TheoryData<string> Kinds { get; } = ["greedy", "drawn", "everything"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public Task A_token_allocates_nothing_from_the_plan_to_the_bytes_of_the_reply(string kind) => Task.Run(() =>
    {
        using var decoding = new Decoding(Sampling(kind));
        decoding.Step(2 * StepsOfBlock);

        // What each token allocates shows in every block; what the runtime does once, as when it compiles anew, in one of them.
        var allocated = long.MaxValue;
        for (var block = 0; block < Blocks; block++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            decoding.Step(StepsOfBlock);
            allocated = Math.Min(allocated, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.Equal((((2 + Blocks) * StepsOfBlock) + 1) * Sequences, decoding.TokensRead);
        Assert.True(allocated == 0, $"{allocated} bytes are allocated in {StepsOfBlock} steps of {Sequences} sequences");
    });

    private static Contracts.V1.Sampling Sampling(string kind) => kind switch
    {
        "greedy" => new() { Temperature = 0 },
        "drawn" => new() { Temperature = 0.8f, TopP = 0.9f, TopK = 200, MinP = 0.001f },
        _ => new()
        {
            Temperature = 1.2f,
            TopP = 0.95f,
            Logprobs = 5,
            PresencePenalty = 0.5f,
            FrequencyPenalty = 0.1f,
            RepetitionPenalty = 1.1f,
            LogitBias = { [300] = 1, [301] = -2 },
            StopTokenIds = { 5, 6 },
            MinTokens = 10_000,
        },
    };

    /// <summary>
    /// Sequences that decode on one engine, and their readers, all on the test's thread: each reader takes its chunk when told to, after the step that made it,
    /// and so waits for nothing but the test.
    /// </summary>
    private sealed class Decoding : IDisposable
    {
        private readonly SyntheticModelRunner _runner = new(new SyntheticModel { Vocab = 512, Context = 60_000, Layers = 1 }, PageTokens, 8192, spend: null);
        private readonly HeapKvPool _pool;
        private readonly FakeTimeProvider _time = new();
        private readonly EngineCore _core;
        private readonly Turn[] _turns = [.. Enumerable.Range(0, Sequences).Select(_ => new Turn())];
        private readonly Task _readers;
        private readonly CancellationTokenSource _stop = new();
        private int _tokensRead;

        public Decoding(Contracts.V1.Sampling sampling)
        {
            _pool = new HeapKvPool(_runner.Layout, Sequences * 60);
            var network = new FakeKvNetwork(_time);
            _core = new EngineCore(
                _runner, _pool, network.ReceiverOf(_pool), new EngineLimits { MaxBatchTokens = 8192, MaxSequences = Sequences }, new EngineIdentity("e", 7, [], "fake"), _time);
            var service = new EngineService(_core, network.SenderOf(_pool), _time);

            // Every page has been in the cache once: what is kept for a page is there from then on.
            var all = service.ReadAsync(Calls.Generate("all pages", [.. Enumerable.Range(0, (_pool.Pages * PageTokens) - 1).Select(token => token % 500)], Calls.Sampling(1)));
            while (_core.Step())
            {
            }

            all.Wait();
            sampling.MaxTokens = 20_000;
            sampling.IgnoreEos = true;
            _readers = Task.WhenAll(Enumerable.Range(0, Sequences).Select(i =>
            {
                var own = sampling.Clone();
                own.Seed = (ulong)i;
                return ReadAsync(service.StartGenerateAsync(Calls.Generate($"r{i}", Calls.Prompt(20, i), own), _stop.Token), _turns[i]);
            }));

            // The first chunk is waited for, and so arrives on some other thread.
            _ = _core.Step();
            Task.WaitAll(_turns.Select(turn => turn.Reached));
        }

        public int TokensRead => Volatile.Read(ref _tokensRead);

        public void Step(int steps)
        {
            for (var end = TokensRead + (steps * Sequences); TokensRead < end;)
            {
                _ = _core.Step();
                foreach (var turn in _turns)
                {
                    turn.Go();
                }
            }
        }

        public void Dispose()
        {
            _stop.Cancel();
            foreach (var turn in _turns)
            {
                turn.Go();
            }

            Assert.ThrowsAny<OperationCanceledException>(() => _readers.GetAwaiter().GetResult());
            _core.Dispose();
            _pool.Dispose();
            _stop.Dispose();
        }

        private async Task ReadAsync(IAsyncEnumerable<GenerateChunk> chunks, Turn turn)
        {
            var reply = new ReusedBuffer();
            await foreach (var chunk in chunks)
            {
                _ = Interlocked.Add(ref _tokensRead, chunk.TokenIds.Count);
                reply.Clear();
                Assert.True(chunk.CalculateSize() > 0);
                chunk.WriteTo(reply);
                await turn;
            }
        }
    }

    /// <summary>Awaited by a reader until the test says go; the reader then runs within that call.</summary>
    private sealed class Turn : ICriticalNotifyCompletion
    {
        private readonly TaskCompletionSource _reached = new();
        private Action? _go;

        /// <summary>The reader has come here for the first time.</summary>
        public Task Reached => _reached.Task;

        public bool IsCompleted => false;

        public Turn GetAwaiter() => this;

        public void Go() => Interlocked.Exchange(ref _go, null)!();

        public void OnCompleted(Action continuation) => UnsafeOnCompleted(continuation);

        public void UnsafeOnCompleted(Action continuation)
        {
            Volatile.Write(ref _go, continuation);
            _ = _reached.TrySetResult();
        }

        public void GetResult()
        {
        }
    }

    /// <summary>Where the wire's bytes go.</summary>
    private sealed class ReusedBuffer : IBufferWriter<byte>
    {
        private readonly byte[] _bytes = new byte[4096];
        private int _written;

        public void Clear() => _written = 0;

        public void Advance(int count) => _written += count;

        public Memory<byte> GetMemory(int sizeHint = 0) => _bytes.AsMemory(_written);

        public Span<byte> GetSpan(int sizeHint = 0) => _bytes.AsSpan(_written);
    }
}
