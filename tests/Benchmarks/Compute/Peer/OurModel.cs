using ScriptedServe.Engine.Compute;
using ScriptedServe.KvTransport;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>A model of ours, measured as llama-bench measures: a prompt in one step, and single tokens from an empty context on.</summary>
internal sealed class OurModel : IDisposable
{
    public const int MaxBatch = 16;

    private readonly TimeProvider _time;
    private readonly CpuModelRunner _runner;
    private readonly SharedKvPool _pool;
    private readonly float[] _logits;
    private readonly int[] _tokens;
    private readonly int[] _promptTable;
    private readonly int[][] _tables;

    /// <param name="prompt">Longest prompt.</param>
    /// <param name="ranks">That share the threads.</param>
    /// <param name="generated">Most tokens that a sequence grows to in decode.</param>
    public OurModel(TimeProvider time, string folder, WeightFormat weights, int threads, int prompt, int generated, int ranks = 1)
    {
        _time = time;
        _runner = CpuModelRunner.Load(folder, new CpuRunnerOptions { TensorParallel = ranks, Threads = threads, Weights = weights, MaxBatchTokens = prompt });
        int PagesOf(int tokens) => (tokens + _runner.Layout.PageTokens - 1) / _runner.Layout.PageTokens;
        _promptTable = [.. Enumerable.Range(0, PagesOf(prompt))];
        _tables = [.. Enumerable.Range(0, MaxBatch).Select(i => Enumerable.Range(_promptTable.Length + i * PagesOf(generated), PagesOf(generated)).ToArray())];
        _pool = SharedKvPool.Create(_runner.Layout, _promptTable.Length + MaxBatch * PagesOf(generated), epoch: 1, shards: _runner.KvShards);
        _logits = new float[MaxBatch * _runner.Model.VocabSize];
        var random = new Random(1);
        _tokens = [.. Enumerable.Range(0, Math.Max(prompt, generated)).Select(_ => random.Next(_runner.Model.VocabSize))];
    }

    /// <summary>Bytes of weights that a step of one token reads.</summary>
    public long BytesPerToken => _runner.WeightBytesPerToken;

    /// <summary>Tokens a second of a prompt computed in steps of <paramref name="chunk"/> tokens.</summary>
    public double Prefill(int tokens, int chunk)
    {
        long start = _time.GetTimestamp();
        for (int position = 0; position < tokens; position += chunk)
        {
            int count = Math.Min(chunk, tokens - position);
            bool last = position + count == tokens;
            _runner.Forward(
                [new StepSlice(_tokens.AsMemory(position, count), position, _promptTable, last)],
                _pool,
                last ? _logits.AsSpan(0, _runner.Model.VocabSize) : [],
                null);
        }

        return tokens / _time.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>Tokens a second, all sequences together, of <paramref name="batch"/> sequences that grow by <paramref name="tokens"/> tokens.</summary>
    public double Decode(int batch, int tokens)
    {
        long start = _time.GetTimestamp();
        var slices = new StepSlice[batch];
        for (int position = 0; position < tokens; position++)
        {
            for (int i = 0; i < batch; i++)
            {
                slices[i] = new StepSlice(_tokens.AsMemory(position, 1), position, _tables[i], true);
            }

            _runner.Forward(slices, _pool, _logits.AsSpan(0, batch * _runner.Model.VocabSize), null);
        }

        return batch * tokens / _time.GetElapsedTime(start).TotalSeconds;
    }

    public void Dispose()
    {
        _runner.Dispose();
        _pool.Dispose();
    }
}
