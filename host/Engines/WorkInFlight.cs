namespace ScriptedServe.Host.Engines;

/// <summary>Work that stands before a new call on an engine.</summary>
/// <param name="PrefillTokens">Prompt tokens not yet computed.</param>
/// <param name="Sequences">Sequences waiting or running, and reservations of this host.</param>
internal readonly record struct WorkAhead(long PrefillTokens, int Sequences) : IComparable<WorkAhead>
{
    /// <summary>By queued prefill, then by sequences.</summary>
    public int CompareTo(WorkAhead other)
    {
        var byPrefill = PrefillTokens.CompareTo(other.PrefillTokens);
        return byPrefill != 0 ? byPrefill : Sequences.CompareTo(other.Sequences);
    }
}

/// <summary>
/// The load of one engine: this host's own calls counted at once, plus what the last report says others have there.
/// A burst between two reports is therefore seen by each of its requests. Thread-safe.
/// </summary>
internal sealed class WorkInFlight
{
    private readonly Lock gate = new();
    private long ownPrefillTokens;
    private int ownCalls;
    private long othersPrefillTokens;
    private int othersSequences;

    /// <summary>This host's calls and unused reservations.</summary>
    public int Calls => Volatile.Read(ref ownCalls);

    public WorkAhead Ahead
    {
        get
        {
            lock (gate)
            {
                return new WorkAhead(othersPrefillTokens + ownPrefillTokens, othersSequences + ownCalls);
            }
        }
    }

    /// <summary>Counts a call from now until the ticket is disposed.</summary>
    /// <param name="prefillTokens">Prompt tokens the call is expected to compute.</param>
    public Ticket Begin(long prefillTokens)
    {
        lock (gate)
        {
            ownCalls++;
            ownPrefillTokens += prefillTokens;
        }

        return new Ticket(this, prefillTokens);
    }

    /// <summary>Takes in an engine's report: what it holds beyond this host's own calls is others' work.</summary>
    public void Reported(int prefillTokens, int sequences)
    {
        lock (gate)
        {
            othersPrefillTokens = Math.Max(0, prefillTokens - ownPrefillTokens);
            othersSequences = Math.Max(0, sequences - ownCalls);
        }
    }

    /// <summary>Forgets what others had: the engine is a new one.</summary>
    public void Reset() => Reported(0, 0);

    /// <summary>One counted call.</summary>
    public sealed class Ticket(WorkInFlight owner, long prefillTokens) : IDisposable
    {
        private long prefillLeft = prefillTokens;
        private bool ended;

        /// <summary>The prompt is computed; what is left is decoding.</summary>
        public void PrefillDone()
        {
            lock (owner.gate)
            {
                owner.ownPrefillTokens -= prefillLeft;
                prefillLeft = 0;
            }
        }

        public void Dispose()
        {
            lock (owner.gate)
            {
                if (ended)
                {
                    return;
                }

                ended = true;
                owner.ownCalls--;
                owner.ownPrefillTokens -= prefillLeft;
                prefillLeft = 0;
            }
        }
    }
}
