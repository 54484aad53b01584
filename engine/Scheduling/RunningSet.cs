namespace ScriptedServe.Engine.Scheduling;

/// <summary>Owns the sequences that have a seat and pages, oldest first.</summary>
public sealed class RunningSet(int seats)
{
    private readonly List<Sequence> _sequences = [];

    public int Count => _sequences.Count;

    public bool HasSeat => _sequences.Count < seats;

    public Sequence this[int index] => _sequences[index];

    public void Add(Sequence sequence)
    {
        // Nearly always the newest; a sequence that was preempted goes back to its place.
        var index = _sequences.Count;
        while (index > 0 && _sequences[index - 1].Arrival > sequence.Arrival)
        {
            index--;
        }

        _sequences.Insert(index, sequence);
        sequence.State = SequenceState.Running;
    }

    /// <returns>False if it does not run.</returns>
    public bool Remove(Sequence sequence) => _sequences.Remove(sequence);

    /// <summary>The newest that may be preempted, or null.</summary>
    public Sequence? NewestPreemptible() => _sequences.FindLast(sequence => sequence.CanPreempt);

    /// <summary>Replaces what <paramref name="others"/> has.</summary>
    public void CopyTo(List<Sequence> others)
    {
        others.Clear();
        others.AddRange(_sequences);
    }
}
