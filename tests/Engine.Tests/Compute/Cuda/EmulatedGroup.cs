namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>GPUs of one process joined, each on its thread: a call ends when all ranks have come to it.</summary>
internal sealed unsafe class EmulatedGroup(int ranks, EmulatedGroup.Writer write)
{
    private readonly nint[] _places = new nint[ranks];
    private readonly object _gate = new();
    private int _arrived;
    private bool _aborted;

    public delegate void Writer(void* from, nint to, long bytes);

    public void Sum(int rank, nint values, int count) => Together(rank, values, () =>
    {
        var sums = new float[count];
        foreach (nint place in _places)
        {
            for (int i = 0; i < count; i++)
            {
                sums[i] += ((float*)place)[i];
            }
        }

        fixed (float* first = sums)
        {
            foreach (nint place in _places)
            {
                write(first, place, (long)count * sizeof(float));
            }
        }
    });

    public void Broadcast(int rank, nint values, int bytes) => Together(rank, values, () =>
    {
        foreach (nint place in _places[1..])
        {
            write((void*)_places[0], place, bytes);
        }
    });

    public void Abort()
    {
        lock (_gate)
        {
            _aborted = true;
            Monitor.PulseAll(_gate);
        }
    }

    private void Together(int rank, nint values, Action work)
    {
        lock (_gate)
        {
            _places[rank] = values;
            int round = _arrived / ranks;
            if (++_arrived % ranks == 0)
            {
                work();
                Monitor.PulseAll(_gate);
            }

            while (_arrived / ranks == round && !_aborted)
            {
                Monitor.Wait(_gate);
            }

            if (_aborted)
            {
                throw new OperationCanceledException("a rank has failed");
            }
        }
    }
}
