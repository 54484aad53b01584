using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// Which experts each row of a step goes to, with what weight, and in which slot: slots are sorted by expert, and by row within one.
/// </summary>
internal sealed unsafe class ExpertRouting : IDisposable
{
    private readonly ExpertsConfig _experts;
    private readonly NativeBuffer _logits;

    /// <summary>[rows, chosen], experts ascending.</summary>
    private readonly int[] _expertOf;
    private readonly float[] _weights;
    private readonly int[] _slotOf;

    /// <summary>[rows * chosen].</summary>
    private readonly int[] _rowOf;

    /// <summary>[experts + 1]: an expert's slots begin where those of the one before end.</summary>
    private readonly int[] _begins;

    public ExpertRouting(ExpertsConfig experts, int maxRows)
    {
        _experts = experts;
        LogitStride = DecoderStep.Padded(experts.Count);
        _logits = NativeBuffer.OfFloats((long)maxRows * LogitStride);
        int slots = maxRows * experts.Chosen;
        _expertOf = new int[slots];
        _weights = new float[slots];
        _slotOf = new int[slots];
        _rowOf = new int[slots];
        _begins = new int[experts.Count + 1];
        RouteRow = Route;
    }

    public int Chosen => _experts.Chosen;

    /// <summary>[rows, LogitStride]: the router's outputs; <see cref="RouteRow"/> overwrites them.</summary>
    public float* Logits => _logits.Floats;

    public int LogitStride { get; }

    /// <summary>(row, worker): chooses the experts of a row.</summary>
    public Action<int, int> RouteRow { get; }

    /// <summary>Gives the rows' choices their slots.</summary>
    public void Sort(int rows)
    {
        Array.Clear(_begins);
        int slots = rows * Chosen;
        for (int i = 0; i < slots; i++)
        {
            _begins[_expertOf[i] + 1]++;
        }

        for (int expert = 0; expert < _experts.Count; expert++)
        {
            _begins[expert + 1] += _begins[expert];
        }

        for (int i = 0; i < slots; i++)
        {
            // Moves the expert's begin on; afterwards it stands where its slots end.
            int slot = _begins[_expertOf[i]]++;
            _slotOf[i] = slot;
            _rowOf[slot] = i / Chosen;
        }
    }

    /// <summary>An expert's slots, after <see cref="Sort"/>.</summary>
    public (int First, int Count) Slots(int expert)
    {
        int first = expert == 0 ? 0 : _begins[expert - 1];
        return (first, _begins[expert] - first);
    }

    public int RowOf(int slot) => _rowOf[slot];

    /// <summary>A row's choice, by ascending expert.</summary>
    public (int Slot, float Weight) Choice(int row, int choice) => (_slotOf[row * Chosen + choice], _weights[row * Chosen + choice]);

    public void Dispose() => _logits.Dispose();

    private void Route(int row, int worker)
    {
        float* logits = _logits.Floats + (nint)row * LogitStride;
        var experts = _expertOf.AsSpan(row * Chosen, Chosen);
        for (int choice = 0; choice < Chosen; choice++)
        {
            experts[choice] = LargestBut(experts[..choice], logits);
        }

        experts.Sort();
        float all = AttentionKernels.Exponentials(logits, _experts.Count);
        float sum = 0;
        foreach (int expert in experts)
        {
            sum += logits[expert];
        }

        for (int choice = 0; choice < Chosen; choice++)
        {
            _weights[row * Chosen + choice] = logits[experts[choice]] / (_experts.Renormalized ? sum : all);
        }
    }

    /// <summary>The first of the largest logits among experts not yet taken. Logits that are not numbers give some expert all the same.</summary>
    private int LargestBut(ReadOnlySpan<int> taken, float* logits)
    {
        int best = -1;
        for (int expert = 0; expert < _experts.Count; expert++)
        {
            if ((best < 0 || logits[expert] > logits[best]) && !taken.Contains(expert))
            {
                best = expert;
            }
        }

        return best;
    }
}
