using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// The feed-forward of a block. With experts, rows are sorted by expert, so that each expert reads its weights once for all of its rows and no others
/// are computed; a row's sum over its experts runs in the order of their numbers, so that it does not depend on the other rows.
/// </summary>
internal sealed unsafe class FeedForwardStep : IDisposable
{
    private readonly DecoderConfig _config;
    private readonly WorkerTeam _team;
    private readonly GemmLoop _gemm;
    private readonly int _hiddenStride;
    private readonly ExpertRouting? _routing;

    /// <summary>[slots, 2 * feedForward]; a slot is a row, or with experts a row at one of its experts.</summary>
    private readonly NativeBuffer _gateUp;

    /// <summary>[slots, feedForward].</summary>
    private readonly NativeBuffer _inner;

    /// <summary>[slots, hidden]: inputs of the experts.</summary>
    private readonly NativeBuffer _gathered;

    /// <summary>[rows, hidden]: the sum over a row's experts.</summary>
    private readonly NativeBuffer _mixed;
    private readonly RankSums _sums;

    private readonly Action<int, int> _activateRow;
    private readonly Action<int, int> _gatherSlot;
    private readonly Action<int, int> _sumRow;

    private int _feedForward;
    private float* _inputs;

    /// <param name="int8">Some matrices are in int8.</param>
    public FeedForwardStep(DecoderConfig config, WorkerTeam team, GemmKernels kernels, RankPlace place, int maxRows, int hiddenStride, bool int8)
    {
        _config = config;
        _sums = place.Sums;
        _team = team;
        _hiddenStride = hiddenStride;
        var experts = config.Blocks.Select(block => block.Experts).OfType<ExpertsConfig>().FirstOrDefault();
        _routing = experts is null ? null : new ExpertRouting(experts, maxRows);
        int slots = maxRows * (experts?.Chosen ?? 1);
        int widest = Math.Max(config.Hidden, Math.Max(config.FeedForward, experts?.FeedForward ?? 0));
        _gemm = new GemmLoop(team, kernels, place.Relay, Math.Max(1, experts?.Count ?? 0), int8 ? (long)slots * Int8Inputs.RowBytes(widest) : 0);
        long inner = Math.Max(
            config.Blocks.Any(block => block.Experts is null) ? (long)maxRows * DecoderStep.Padded(config.FeedForward) : 0,
            (long)slots * DecoderStep.Padded(experts?.FeedForward ?? 0));
        long gateUp = Math.Max(
            config.Blocks.Any(block => block.Experts is null) ? (long)maxRows * DecoderStep.Padded(2 * config.FeedForward) : 0,
            (long)slots * DecoderStep.Padded(2 * experts?.FeedForward ?? 0));
        _gateUp = NativeBuffer.OfFloats(gateUp);
        _inner = NativeBuffer.OfFloats(inner);
        _gathered = NativeBuffer.OfFloats(experts is null ? 0 : (long)slots * hiddenStride);
        _mixed = NativeBuffer.OfFloats(experts is null ? 0 : (long)maxRows * hiddenStride);
        _activateRow = ActivateRow;
        _gatherSlot = GatherSlot;
        _sumRow = SumRow;
    }

    private int InnerStride => DecoderStep.Padded(_feedForward);

    private int GateUpStride => DecoderStep.Padded(2 * _feedForward);

    /// <param name="inputs">[rows, hiddenStride].</param>
    /// <returns>[rows, hiddenStride]: the outputs, to be read only, until the next run.</returns>
    public float* Run(BlockWeights weights, ExpertsConfig? experts, float* inputs, int rows)
    {
        _inputs = inputs;
        if (experts is null)
        {
            RunDense(weights.FeedForwards[0], rows);
            return _sums.FeedForward.Floats;
        }

        RunExperts(weights, experts, rows);
        return _mixed.Floats;
    }

    public void Dispose()
    {
        _gemm.Dispose();
        _gateUp.Dispose();
        _inner.Dispose();
        _gathered.Dispose();
        _mixed.Dispose();
        _routing?.Dispose();
    }

    private void RunDense(FeedForwardWeights weights, int rows)
    {
        SetWidth(_config.FeedForward, rows);
        _gemm.Multiply(weights.GateUp, _inputs, _hiddenStride, rows, _gateUp.Floats, GateUpStride);
        _team.For(rows, _activateRow);
        _gemm.Multiply(weights.Down, _inner.Floats, InnerStride, rows, _sums.FeedForward.Floats, _hiddenStride, summed: true);
    }

    private void RunExperts(BlockWeights weights, ExpertsConfig experts, int rows)
    {
        var routing = _routing!;
        _gemm.Multiply(weights.Router!, _inputs, _hiddenStride, rows, routing.Logits, routing.LogitStride);
        _team.For(rows, routing.RouteRow);
        routing.Sort(rows);
        int slots = rows * experts.Chosen;
        SetWidth(experts.FeedForward, slots);
        _team.For(slots, _gatherSlot);

        AddExperts(weights, static expert => expert.GateUp, summed: false);
        _gemm.Run(_gathered.Floats, _hiddenStride, _gateUp.Floats, GateUpStride);
        _team.For(slots, _activateRow);
        AddExperts(weights, static expert => expert.Down, summed: true);
        _gemm.Run(_inner.Floats, InnerStride, _sums.Experts.Floats, _hiddenStride);
        _team.For(rows, _sumRow);
    }

    /// <summary>
    /// Blocks may differ in width. The kernels read an odd width's inputs one element further, which must be zero whatever a wider block left there.
    /// </summary>
    private void SetWidth(int feedForward, int slots)
    {
        _feedForward = feedForward;
        for (int slot = 0; feedForward % 2 != 0 && slot < slots; slot++)
        {
            _inner.Floats[(nint)slot * InnerStride + feedForward] = 0;
        }
    }

    private void AddExperts(BlockWeights weights, Func<FeedForwardWeights, PackedMatrix> matrix, bool summed)
    {
        for (int expert = 0; expert < weights.FeedForwards.Count; expert++)
        {
            var (first, count) = _routing!.Slots(expert);
            if (count > 0)
            {
                _gemm.Add(matrix(weights.FeedForwards[expert]), first, count, summed);
            }
        }
    }

    private void ActivateRow(int row, int worker)
    {
        float* gate = _gateUp.Floats + (nint)row * GateUpStride;
        RowKernels.ActivateMultiply(_config.Activation, gate, gate + _feedForward, _inner.Floats + (nint)row * InnerStride, _feedForward);
    }

    private void GatherSlot(int slot, int worker) =>
        new ReadOnlySpan<float>(_inputs + (nint)_routing!.RowOf(slot) * _hiddenStride, _hiddenStride)
            .CopyTo(new Span<float>(_gathered.Floats + (nint)slot * _hiddenStride, _hiddenStride));

    private void SumRow(int row, int worker)
    {
        float* output = _mixed.Floats + (nint)row * _hiddenStride;
        new Span<float>(output, _hiddenStride).Clear();
        for (int choice = 0; choice < _routing!.Chosen; choice++)
        {
            var (slot, weight) = _routing.Choice(row, choice);
            RowKernels.AddScaled(output, _sums.Experts.Floats + (nint)slot * _hiddenStride, weight, _config.Hidden);
        }
    }
}
