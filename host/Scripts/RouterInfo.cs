namespace ScriptedServe.Host.Scripts;

/// <summary>A text to become a version.</summary>
/// <param name="Activate">Let it serve its name at once if it loads.</param>
/// <param name="Options">Values for the script's Options, above the configured ones; null leaves them.</param>
public sealed record RouterSubmission(string Name, string Text, RouterOrigin Origin, bool Activate, IReadOnlyDictionary<string, string>? Options = null);

/// <summary>What became of a submission.</summary>
/// <param name="Version">The version, in phase Rejected if it failed.</param>
/// <param name="Created">False if the same text was loaded already: then that version is given, and activated if asked.</param>
/// <param name="Diagnostics">Errors if it was rejected; else warnings.</param>
/// <param name="Source">What was compiled, to quote lines from.</param>
public sealed record RouterPutResult(RouterVersionInfo Version, bool Created, IReadOnlyList<RouterDiagnostic> Diagnostics, ScriptSource Source)
{
    public bool Accepted => Version.State != RouterPhase.Rejected;
}

/// <summary>A version as it stands.</summary>
/// <param name="Leases">Requests being served by it now.</param>
/// <param name="Requests">Served by it so far.</param>
/// <param name="Errors">Of those, failed by an exception out of the script, engine errors it let pass included.</param>
/// <param name="Share">Its part of all requests so far, 0 to 1.</param>
public sealed record RouterVersionInfo(
    string Name, int Version, RouterPhase State, string ContentHash, string Author, string Message, DateTimeOffset Time,
    long Leases, long Requests, long Errors, long PlanErrors, double Share, IReadOnlyDictionary<string, string> Options);

/// <summary>A router name and its versions, newest first.</summary>
public sealed record RouterInfo(string Name, int? ActiveVersion, bool IsDefault, IReadOnlyList<RouterVersionInfo> Versions);

/// <summary>A version with its text.</summary>
/// <param name="Files">The router's own file first.</param>
public sealed record RouterSourceInfo(RouterVersionInfo Version, IReadOnlyList<ScriptFile> Files, IReadOnlyList<RouterDiagnostic> Diagnostics);
