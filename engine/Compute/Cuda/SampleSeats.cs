using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Sampling;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>
/// Counts of seen tokens on the device, [seats, vocab], for sequences under penalties. A sequence has a seat for as long as it decodes step after step; its counts are sent once, and the kernel that chooses a
/// token counts it. The seat that was unused for longest is given away. Owns its memory.
/// </summary>
internal sealed unsafe class SampleSeats(IGpu gpu, int vocab) : IDisposable
{
    /// <summary>What the counts of a seat stand for.</summary>
    private sealed class Seat
    {
        public object? Owner { get; set; }

        public int Generated { get; set; }

        public long LastUsed { get; set; }
    }

    private readonly List<Seat> _seats = [];
    private readonly Dictionary<object, int> _byOwner = new(ReferenceEqualityComparer.Instance);
    private IGpuMemory? _counts;
    private IGpuMemory? _staging;
    private long _step;

    /// <summary>0 before the first sequence under penalties.</summary>
    public nint Counts => _counts?.Value ?? 0;

    /// <summary>Changes when the counts have moved.</summary>
    public int Generation { get; private set; }

    /// <summary>Makes room for so many sequences of a step, which begins.</summary>
    public void Begin(int sequences)
    {
        _step++;
        if (sequences <= _seats.Count)
        {
            return;
        }

        int seats = Math.Max(1, _seats.Count);
        while (seats < sequences)
        {
            seats *= 2;
        }

        _staging ??= gpu.AllocatePinned((long)vocab * sizeof(uint));
        var counts = gpu.Allocate((long)seats * vocab * sizeof(uint));
        _counts?.Dispose();
        _counts = counts;
        Generation++;
        Forget();
        while (_seats.Count < seats)
        {
            _seats.Add(new Seat());
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
        _counts?.Dispose();
        _staging?.Dispose();
    }

    private int LeastUsed()
    {
        int least = 0;
        for (int seat = 1; seat < _seats.Count; seat++)
        {
            least = _seats[seat].LastUsed < _seats[least].LastUsed ? seat : least;
        }

        return least;
    }

    private void Send(int seat, TokenCounts counts)
    {
        var values = new Span<uint>((void*)_staging!.Value, vocab);
        values.Clear();
        foreach (var (token, times) in counts)
        {
            // Sample.cu: bit 0 is that the token was seen.
            values[token] = ((uint)times << 1) | 1;
        }

        gpu.Upload((void*)_staging.Value, _counts!, (long)seat * vocab * sizeof(uint), (long)vocab * sizeof(uint));
        gpu.Wait();
    }

    private void Forget()
    {
        _byOwner.Clear();
        foreach (var seat in _seats)
        {
            (seat.Owner, seat.LastUsed) = (null, 0);
        }
    }
}
