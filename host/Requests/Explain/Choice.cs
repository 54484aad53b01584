namespace ScriptedServe.Host.Requests.Explain;

/// <summary>
/// A choice of one engine among several: what was seen of each, and which it was. Filled in while choosing, by the thread that chooses.
/// </summary>
internal sealed record Choice(double AtMs, ChoiceKind Kind, string Set, int Count) : Decision(AtMs)
{
    /// <summary>Of a large set the first looked at are kept, and in any case the chosen one.</summary>
    public const int MostCandidates = 16;

    private readonly Candidate[] candidates = new Candidate[Math.Min(Count, MostCandidates)];
    private int kept;

    /// <summary>Null where there was no such engine.</summary>
    public string? Chosen { get; private set; }

    public ReadOnlySpan<Candidate> Candidates => candidates.AsSpan(0, kept);

    public override int SizeBytes => 96 + (candidates.Length * Candidate.Size);

    /// <summary>Replaces what was seen of the same engine before.</summary>
    public void Saw(in Candidate candidate)
    {
        var at = PlaceOf(candidate.Engine);
        if (at < candidates.Length)
        {
            candidates[at] = candidate;
            kept = Math.Max(kept, at + 1);
        }
    }

    public void Made(in Candidate chosen)
    {
        Chosen = chosen.Engine;
        if (candidates.Length > 0)
        {
            var at = Math.Min(PlaceOf(chosen.Engine), candidates.Length - 1);
            candidates[at] = chosen;
            kept = Math.Max(kept, at + 1);
        }
    }

    /// <summary>Where the engine stands, or the next free place, which may be past the end.</summary>
    private int PlaceOf(string engine)
    {
        var at = 0;
        while (at < kept && candidates[at].Engine != engine)
        {
            at++;
        }

        return at;
    }
}
