using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Sampling;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>
/// Counts of seen tokens on the device, [seats, vocab], for sequences under penalties. A sequence has a seat for as long as it decodes step after step; its counts are sent once, and the kernel that chooses a
/// token counts it, so that they are right for a step that is launched before the token is known. The seat that was unused for longest is given away. Owns its memory.
/// </summary>
/// <param name="count">Seats: most sequences of a step.</param>
internal sealed unsafe class SampleSeats(IGpu gpu, int vocab, int count) : IDisposable
{
    /// <summary>What the counts of a seat stand for.</summary>
    private sealed class Seat
    {
        public object? Owner { get; set; }

        public int Generated { get; set; }

        public long LastUsed { get; set; }
    }

    /// <summary>Most buffers of pinned memory, of [vocab] each.</summary>
    private const int MostStaging = 8;

    private readonly Seat[] _seats = [.. Enumerable.Range(0, count).Select(_ => new Seat())];
    private readonly Dictionary<object, int> _byOwner = new(ReferenceEqualityComparer.Instance);
    private readonly IGpuMemory _counts = gpu.Allocate((long)count * vocab * sizeof(uint));

    /// <summary>Counts on their way to the device, and the step that sent them.</summary>
    private readonly List<(IGpuMemory Memory, long Step)> _staging = [];
    private long _step;

    public nint Counts => _counts.Value;

    /// <summary>A step begins; of those before, all but one have come to their end.</summary>
    public void Begin(ReadOnlySpan<TokenChoice> choices)
    {
        _step++;
        foreach (ref readonly var choice in choices)
        {
            if (choice.Counts is not null && _byOwner.TryGetValue(choice.Owner, out int seat))
            {
                // Not to be given away to another of this step.
                _seats[seat].LastUsed = _step;
            }
        }
    }

    /// <summary>The seat of a sequence of this step, with its counts.</summary>
    public int Take(in TokenChoice choice)
    {
        if (!_byOwner.TryGetValue(choice.Owner, out int index))
        {
            index = LeastUsed();
            if (_seats[index].Owner is { } before)
            {
                _byOwner.Remove(before);
            }

            _byOwner.Add(choice.Owner, index);
            (_seats[index].Owner, _seats[index].Generated) = (choice.Owner, -1);
        }

        var seat = _seats[index];
        seat.LastUsed = _step;
        if (seat.Generated != choice.Generated)
        {
            Send(index, choice.Counts!);
        }

        // Until the step is known to have run, the counts may be those before or after it.
        seat.Generated = -1;
        return index;
    }

    /// <summary>The step has counted a token for the sequence.</summary>
    public void Counted(in TokenChoice choice) => _seats[_byOwner[choice.Owner]].Generated = choice.Generated + 1;

    public void Dispose()
    {
        _counts.Dispose();
        _staging.ForEach(staging => staging.Memory.Dispose());
    }

    private long SeatBytes => (long)vocab * sizeof(uint);

    private int LeastUsed()
    {
        int least = 0;
        for (int seat = 1; seat < _seats.Length; seat++)
        {
            least = _seats[seat].LastUsed < _seats[least].LastUsed ? seat : least;
        }

        return least;
    }

    private void Send(int seat, TokenCounts counts)
    {
        var staging = FreeStaging();
        var values = new Span<uint>((void*)staging.Value, vocab);
        values.Clear();
        foreach (var (token, times) in counts)
        {
            // Sample.cu: bit 0 is that the token was seen.
            values[token] = ((uint)times << 1) | 1;
        }

        gpu.Upload((void*)staging.Value, _counts, seat * SeatBytes, SeatBytes);
    }

    /// <summary>A buffer that nothing is read from any more.</summary>
    private IGpuMemory FreeStaging()
    {
        int free = _staging.FindIndex(staging => staging.Step <= _step - ISamplingRunner.MostUnderWay);
        if (free < 0 && _staging.Count < MostStaging)
        {
            free = _staging.Count;
            _staging.Add((gpu.AllocatePinned(SeatBytes), _step));
        }
        else if (free < 0)
        {
            gpu.Wait();
            free = 0;
            for (int i = 0; i < _staging.Count; i++)
            {
                _staging[i] = (_staging[i].Memory, _step - ISamplingRunner.MostUnderWay);
            }
        }

        _staging[free] = (_staging[free].Memory, _step);
        return _staging[free].Memory;
    }
}
