namespace ScriptedServe.Host.Requests.Explain;

/// <summary>What a script saw, decided and said during one request, in order; bounded. Not thread-safe: its owner has a lock.</summary>
/// <param name="most">Entries kept; later ones are counted only.</param>
internal sealed class DecisionLog(int most)
{
    private readonly List<Decision> entries = new(2);

    public IReadOnlyList<Decision> Entries => entries;

    public int Dropped { get; private set; }

    public int SizeBytes { get; private set; }

    public void Add(Decision decision)
    {
        if (entries.Count >= most)
        {
            Dropped++;
            return;
        }

        entries.Add(decision);
        SizeBytes += 8 + decision.SizeBytes;
    }
}
