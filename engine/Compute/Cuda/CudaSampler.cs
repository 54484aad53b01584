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

/// <summary>Chooses the tokens of a step on the device: what that takes goes there in one copy, and the results come back in one. Owns its memory.</summary>
internal sealed unsafe class CudaSampler : IDisposable
{
    private const int Threads = 1024, AdjustSharedBytes = 32 * sizeof(int), SampleSharedBytes = 3088, AdjustmentsAtFirst = 64;

    private static readonly SampleRow Padding = new(0, 0, 1, 0, 0, 1, 0, 0, -1, 0, 0, 0, 0, 0, -1);

    private readonly IGpu _gpu;
    private readonly int _vocab;
    private readonly Kernel _adjust, _sample;
    private readonly SampleSeats _seats;
    private int _rows;
    private int _adjustments;
    private int _generation;

    // [rows] of how they are sampled, then the adjustments that they name; on the host and on the device.
    private IGpuMemory _hostInputs, _inputs;
    private IGpuMemory _results, _hostResults;

    /// <summary>[rows] tokens for a step that follows at once, and [rows, vocab] scores.</summary>
    private IGpuMemory _tokens, _scores;

    public CudaSampler(IGpu gpu, int vocab)
    {
        (_gpu, _vocab, _seats) = (gpu, vocab, new SampleSeats(gpu, vocab));
        _adjust = new Kernel(gpu.Kernel(ModelKernels.AdjustScores, AdjustSharedBytes), Threads, AdjustSharedBytes);
        _sample = new Kernel(gpu.Kernel(ModelKernels.SampleTokens, SampleSharedBytes), Threads, SampleSharedBytes);
        (_rows, _adjustments) = (1, AdjustmentsAtFirst);
        (_hostInputs, _inputs, _results, _hostResults, _tokens, _scores) = Allocate(_rows, _adjustments);
    }

    /// <summary>Changes when memory has moved that launches name.</summary>
    public int Generation => _generation + _seats.Generation;

    /// <summary>Bytes on the device for so many rows, without what penalties and biases take.</summary>
    public static long BytesFor(int rows, int vocab) => rows * (sizeof(SampleRow) + sizeof(SampleResult) + sizeof(int) + (long)vocab * sizeof(float)) + AdjustmentsAtFirst * sizeof(Adjustment);

    /// <summary>Sends what the choices of a step take to the device.</summary>
    /// <param name="paddedRows">Rows up to this number are padding.</param>
    public void Place(ReadOnlySpan<TokenChoice> choices, int paddedRows)
    {
        int adjustments = 0, penalised = 0;
        foreach (ref readonly var choice in choices)
        {
            adjustments += choice.Parameters.Biases.Length + MaskOf(choice).Length;
            penalised += choice.Counts is null ? 0 : 1;
        }

        Reserve(Math.Max(choices.Length, paddedRows), adjustments);
        _seats.Begin(penalised);
        var rows = new Span<SampleRow>((void*)_hostInputs.Value, _rows);
        var list = new Span<Adjustment>((void*)(_hostInputs.Value + (nint)AdjustmentsOffset), _adjustments);
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
        _gpu.Upload((void*)_hostInputs.Value, _inputs, 0, AdjustmentsOffset + (long)next * sizeof(Adjustment));
    }

    /// <summary>Launches the choice of a token for each row of logits.</summary>
    public void Launch(IGpuMemory logits, int rows)
    {
        _gpu.Call(
            _adjust, new Extent(rows),
            KernelArgument.Pointer(_scores), KernelArgument.Pointer(_results), KernelArgument.Pointer(logits), KernelArgument.Pointer(_inputs), _inputs.Value + (nint)AdjustmentsOffset, _seats.Counts, _vocab);
        _gpu.Call(
            _sample, new Extent(rows),
            KernelArgument.Pointer(_results), KernelArgument.Pointer(_tokens), KernelArgument.Pointer(_scores), KernelArgument.Pointer(logits), KernelArgument.Pointer(_inputs), _seats.Counts, _vocab);
    }

    /// <summary>Brings the results to the host, and waits for them.</summary>
    public void Read(ReadOnlySpan<TokenChoice> choices)
    {
        _gpu.Download(_results, 0, (void*)_hostResults.Value, (long)choices.Length * sizeof(SampleResult));
        _gpu.Wait();
        for (int row = 0; row < choices.Length; row++)
        {
            if (choices[row].Counts is not null && Result(row).BadToken < 0)
            {
                _seats.Counted(choices[row]);
            }
        }
    }

    /// <summary>A token that was read.</summary>
    /// <exception cref="NonFiniteLogitsException">A logit of the row is NaN or infinite.</exception>
    public SampledToken Chosen(int row)
    {
        ref var result = ref Result(row);
        bool asked = ((SampleRow*)_hostInputs.Value)[row].Logprobs >= 0;
        return result.BadToken >= 0
            ? throw new NonFiniteLogitsException(result.BadToken)
            : new SampledToken(result.Token, asked ? result.Logprob : 0, ((ReadOnlySpan<int>)result.Ids)[..result.TopCount], ((ReadOnlySpan<float>)result.Logprobs)[..result.TopCount]);
    }

    public void Dispose()
    {
        Free();
        _seats.Dispose();
    }

    private long AdjustmentsOffset => (long)_rows * sizeof(SampleRow);

    private ref SampleResult Result(int row) => ref ((SampleResult*)_hostResults.Value)[row];

    /// <summary>Tokens that must not be chosen yet: as <see cref="Sampler.Adjust"/> has it.</summary>
    private ReadOnlySpan<int> MaskOf(in TokenChoice choice) =>
        choice.Generated < choice.Parameters.MinTokens && choice.Parameters.StopTokens.Count < _vocab ? choice.Parameters.Stops : [];

    private void Reserve(int rows, int adjustments)
    {
        if (rows <= _rows && adjustments <= _adjustments)
        {
            return;
        }

        int moreRows = Math.Max(rows, _rows), moreAdjustments = _adjustments;
        while (moreAdjustments < adjustments)
        {
            moreAdjustments *= 2;
        }

        var memory = Allocate(moreRows, moreAdjustments);
        Free();
        (_hostInputs, _inputs, _results, _hostResults, _tokens, _scores) = memory;
        (_rows, _adjustments) = (moreRows, moreAdjustments);
        _generation++;
    }

    private (IGpuMemory, IGpuMemory, IGpuMemory, IGpuMemory, IGpuMemory, IGpuMemory) Allocate(int rows, int adjustments)
    {
        long inputs = (long)rows * sizeof(SampleRow) + (long)adjustments * sizeof(Adjustment), results = (long)rows * sizeof(SampleResult);
        var taken = new List<IGpuMemory>();
        try
        {
            taken.Add(_gpu.AllocatePinned(inputs));
            taken.Add(_gpu.Allocate(inputs));
            taken.Add(_gpu.Allocate(results));
            taken.Add(_gpu.AllocatePinned(results));
            taken.Add(_gpu.Allocate((long)rows * sizeof(int)));
            taken.Add(_gpu.Allocate((long)rows * _vocab * sizeof(float)));
            return (taken[0], taken[1], taken[2], taken[3], taken[4], taken[5]);
        }
        catch
        {
            taken.ForEach(memory => memory.Dispose());
            throw;
        }
    }

    private void Free()
    {
        foreach (var memory in (ReadOnlySpan<IGpuMemory>)[_hostInputs, _inputs, _results, _hostResults, _tokens, _scores])
        {
            memory.Dispose();
        }
    }
}
