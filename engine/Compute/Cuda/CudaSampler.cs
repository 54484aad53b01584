using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Sampling;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>How one row is sampled; Sample.cu: SampleRow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct SampleRow(
    ulong Seed, float Temperature, float TopP, float MinP, int TopK, float Repetition, float Presence, float Frequency, int Seat, int BiasBegin, int BiasEnd, int MaskBegin, int MaskEnd, int Position,
    int Logprobs);

/// <summary>Sample.cu: Adjustment.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct Adjustment(int Token, float Bias);

/// <summary>Sample.cu: SampleResult.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SampleResult
{
    public const int MostTop = 20;

    public int Token, BadToken;
    public float Logprob;
    public int TopCount;
    public TopIds Ids;
    public TopLogprobs Logprobs;

    [InlineArray(MostTop)]
    internal struct TopIds
    {
        private int _first;
    }

    [InlineArray(MostTop)]
    internal struct TopLogprobs
    {
        private float _first;
    }
}

/// <summary>
/// Chooses the tokens of a step on the device: what that takes goes there in one copy, and the results come back in one. There are two areas of pinned memory for both, since a step is laid out while the one
/// before may still be on its way. Owns its memory.
/// </summary>
internal sealed unsafe class CudaSampler : IDisposable
{
    private const int Threads = 1024, AdjustSharedBytes = 32 * sizeof(int), SampleSharedBytes = 3088, AdjustmentsOfRow = SamplingParameters.MostBiases + SamplingParameters.MostStops;

    private static readonly SampleRow Padding = new(0, 0, 1, 0, 0, 1, 0, 0, -1, 0, 0, 0, 0, 0, -1);

    private readonly IGpu _gpu;
    private readonly int _vocab;
    private readonly Kernel _adjust, _sample;
    private readonly SampleSeats _seats;
    private readonly int _rows;
    private readonly Areas _memory;

    /// <param name="rows">Most of a step, padding included.</param>
    public CudaSampler(IGpu gpu, int vocab, int rows)
    {
        (_gpu, _vocab, _rows) = (gpu, vocab, rows);
        _adjust = new Kernel(gpu.Kernel(ModelKernels.AdjustScores, AdjustSharedBytes), Threads, AdjustSharedBytes);
        _sample = new Kernel(gpu.Kernel(ModelKernels.SampleTokens, SampleSharedBytes), Threads, SampleSharedBytes);
        _memory = new Areas(gpu, rows, Adjustments, vocab);
        try
        {
            _seats = new SampleSeats(gpu, vocab, rows);
        }
        catch
        {
            _memory.Dispose();
            throw;
        }
    }

    /// <summary>[rows]: the tokens that the last step chose, for one that follows at once.</summary>
    public IGpuMemory Tokens => _memory.Tokens;

    /// <summary>Bytes on the device for so many rows.</summary>
    public static long BytesFor(int rows, int vocab) =>
        rows * (sizeof(SampleRow) + sizeof(SampleResult) + sizeof(int) + (long)vocab * (sizeof(float) + sizeof(uint)) + AdjustmentsOfRow * sizeof(Adjustment));

    /// <summary>Sends what the choices of a step take to the device.</summary>
    /// <param name="area">Of pinned memory, 0 or 1: one that no step under way has.</param>
    /// <param name="paddedRows">Rows up to this number are padding.</param>
    public void Place(ReadOnlySpan<TokenChoice> choices, int area, int paddedRows)
    {
        int adjustments = 0;
        foreach (ref readonly var choice in choices)
        {
            adjustments += choice.Parameters.Biases.Length + MaskOf(choice).Length;
        }

        if (Math.Max(choices.Length, paddedRows) > _rows || adjustments > Adjustments)
        {
            throw new ArgumentException($"{choices.Length} choices with {adjustments} biases and stop tokens; MaxSequences allows {_rows} with {Adjustments}", nameof(choices));
        }

        _seats.Begin(choices);
        nint host = _memory.HostInputs[area].Value;
        var rows = new Span<SampleRow>((void*)host, _rows);
        var list = new Span<Adjustment>((void*)(host + (nint)AdjustmentsOffset), Adjustments);
        int next = 0;
        for (int row = 0; row < choices.Length; row++)
        {
            ref readonly var choice = ref choices[row];
            int biases = next;
            foreach (var (token, bias) in choice.Parameters.Biases)
            {
                list[next++] = new Adjustment(token, bias);
            }

            int mask = next;
            foreach (int token in MaskOf(choice))
            {
                list[next++] = new Adjustment(token, 0);
            }

            var parameters = choice.Parameters;
            rows[row] = new SampleRow(
                parameters.Seed, parameters.Temperature, parameters.TopP, parameters.MinP, parameters.TopK, parameters.RepetitionPenalty, parameters.PresencePenalty, parameters.FrequencyPenalty,
                choice.Counts is null ? -1 : _seats.Take(choice), biases, mask, mask, next, choice.Position, parameters.Logprobs ?? -1);
        }

        rows[choices.Length..Math.Max(choices.Length, paddedRows)].Fill(Padding);
        _gpu.Upload((void*)host, _memory.Inputs, 0, AdjustmentsOffset + (long)next * sizeof(Adjustment));
    }

    /// <summary>Launches the choice of a token for each row of logits.</summary>
    public void Launch(IGpuMemory logits, int rows)
    {
        _gpu.Call(
            _adjust, new Extent(rows),
            KernelArgument.Pointer(_memory.Scores), KernelArgument.Pointer(_memory.Results), KernelArgument.Pointer(logits), KernelArgument.Pointer(_memory.Inputs),
            _memory.Inputs.Value + (nint)AdjustmentsOffset, _seats.Counts, _vocab);
        _gpu.Call(
            _sample, new Extent(rows),
            KernelArgument.Pointer(_memory.Results), KernelArgument.Pointer(_memory.Tokens), KernelArgument.Pointer(_memory.Scores), KernelArgument.Pointer(logits), KernelArgument.Pointer(_memory.Inputs),
            _seats.Counts, _vocab);
    }

    /// <summary>Has the results brought to the host.</summary>
    public void Read(ReadOnlySpan<TokenChoice> choices, int area)
    {
        _gpu.Download(_memory.Results, 0, (void*)_memory.HostResults[area].Value, (long)choices.Length * sizeof(SampleResult));
        foreach (ref readonly var choice in choices)
        {
            // But where the logits are damaged, which ends the sequence.
            if (choice.Counts is not null)
            {
                _seats.Counted(choice);
            }
        }
    }

    /// <summary>A token that has come to the host.</summary>
    /// <exception cref="NonFiniteLogitsException">A logit of the row is NaN or infinite.</exception>
    public SampledToken Chosen(int row, int area)
    {
        ref var result = ref ((SampleResult*)_memory.HostResults[area].Value)[row];
        bool asked = ((SampleRow*)_memory.HostInputs[area].Value)[row].Logprobs >= 0;
        return result.BadToken >= 0
            ? throw new NonFiniteLogitsException(result.BadToken)
            : new SampledToken(result.Token, asked ? result.Logprob : 0, ((ReadOnlySpan<int>)result.Ids)[..result.TopCount], ((ReadOnlySpan<float>)result.Logprobs)[..result.TopCount]);
    }

    public void Dispose()
    {
        _memory.Dispose();
        _seats.Dispose();
    }

    private int Adjustments => _rows * AdjustmentsOfRow;

    private long AdjustmentsOffset => (long)_rows * sizeof(SampleRow);

    /// <summary>Tokens that must not be chosen yet: as <see cref="Sampler.Adjust"/> has it.</summary>
    private ReadOnlySpan<int> MaskOf(in TokenChoice choice) =>
        choice.Generated < choice.Parameters.MinTokens && choice.Parameters.StopTokens.Count < _vocab ? choice.Parameters.Stops : [];

    /// <summary>Memory for so many rows and adjustments.</summary>
    private sealed class Areas : IDisposable
    {
        private readonly List<IGpuMemory> _taken = [];

        public Areas(IGpu gpu, int rows, int adjustments, int vocab)
        {
            long inputs = (long)rows * sizeof(SampleRow) + (long)adjustments * sizeof(Adjustment), results = (long)rows * sizeof(SampleResult);
            try
            {
                HostInputs = [Keep(gpu.AllocatePinned(inputs)), Keep(gpu.AllocatePinned(inputs))];
                HostResults = [Keep(gpu.AllocatePinned(results)), Keep(gpu.AllocatePinned(results))];
                Inputs = Keep(gpu.Allocate(inputs));
                Results = Keep(gpu.Allocate(results));
                Tokens = Keep(gpu.Allocate((long)rows * sizeof(int)));
                Scores = Keep(gpu.Allocate((long)rows * vocab * sizeof(float)));
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        /// <summary>[rows] of how they are sampled, then the adjustments that they name.</summary>
        public IGpuMemory[] HostInputs { get; }

        public IGpuMemory[] HostResults { get; }

        public IGpuMemory Inputs { get; }

        public IGpuMemory Results { get; }

        public IGpuMemory Tokens { get; }

        /// <summary>[rows, vocab].</summary>
        public IGpuMemory Scores { get; }

        public void Dispose() => _taken.ForEach(memory => memory.Dispose());

        private IGpuMemory Keep(IGpuMemory memory)
        {
            _taken.Add(memory);
            return memory;
        }
    }
}
