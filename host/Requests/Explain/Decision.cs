using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Requests.Explain;

/// <summary>What a script asked of the fleet.</summary>
public enum ChoiceKind : byte
{
    LeastLoaded,
    RoundRobin,
    LongestPrefix,
    Find,
}

/// <summary>Something a script saw, decided or said while it handled a request. Kept as it is, put into words when somebody looks.</summary>
/// <param name="AtMs">Milliseconds from the request's arrival.</param>
internal abstract record Decision(double AtMs)
{
    /// <summary>Bytes of memory it holds, about.</summary>
    public abstract int SizeBytes { get; }
}

/// <summary>An engine as a script saw it when it chose.</summary>
/// <param name="PrefillTokens">Queued before a new call; -1 where the choice did not ask.</param>
/// <param name="Sequences">Before a new call; -1 where the choice did not ask.</param>
/// <param name="CachedTokens">Of the request, believed cached there; -1 where the choice did not ask.</param>
internal readonly record struct Candidate(string Engine, long PrefillTokens, int Sequences, int CachedTokens)
{
    public const int Size = 24;
}

/// <summary>The script loaded an engine's figures and does with them what it likes.</summary>
internal sealed record LoadRead(double AtMs, string Engine, EngineLoad Load) : Decision(AtMs)
{
    public override int SizeBytes => 88;
}

/// <summary>The script asked how much of the request an engine has cached.</summary>
internal sealed record CachedRead(double AtMs, string Engine, int CachedTokens) : Decision(AtMs)
{
    public override int SizeBytes => 40;
}

/// <summary>A line the script wrote to its log.</summary>
internal sealed record LogLine(double AtMs, bool IsWarning, string Text) : Decision(AtMs)
{
    public override int SizeBytes => 64 + (2 * Text.Length);
}
