using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Scripts;

/// <summary>A text to become a version.</summary>
/// <param name="Activate">Let it serve its name at once if it loads.</param>
/// <param name="Options">Values for the script's Options, above the configured ones; null leaves them.</param>
/// <param name="Seen">The file it came from, kept together with the version; null for none.</param>
public sealed record RouterSubmission(
    string Name, string Text, RouterOrigin Origin, bool Activate, IReadOnlyDictionary<string, string>? Options = null, FileSeen? Seen = null);

/// <summary>What became of a submission.</summary>
/// <param name="Version">The version as it stands.</param>
/// <param name="Created">False if the same text was a version already: then that version is given, loaded if need be, and activated if asked.</param>
/// <param name="Diagnostics">Errors if it was rejected; else warnings.</param>
/// <param name="Source">What was compiled, to quote lines from.</param>
public sealed record RouterPutResult(RouterVersionInfo Version, bool Created, IReadOnlyList<RouterDiagnostic> Diagnostics, ScriptSource Source)
{
    public bool Accepted { get; init; } = true;
}

/// <summary>Who asks for a change and why; both may be empty.</summary>
public sealed record RouterCause(string By, string Reason)
{
    public static RouterCause None { get; } = new("", "");
}

/// <summary>How a version is to serve.</summary>
/// <param name="Share">Percent of the requests of its name, above 0; 100 makes it the active version.</param>
/// <param name="Header">Of a canary: the request header whose value decides; null for the request's id.</param>
/// <param name="Options">Values for the script's Options, above the configured ones; null leaves them.</param>
public sealed record RouterActivation(RouterCause Cause, double Share = 100, string? Header = null, IReadOnlyDictionary<string, string>? Options = null)
{
    /// <summary>The entry for the log; none if nothing would change.</summary>
    /// <exception cref="RouterRefusedException">The version is gone, or cannot be a canary.</exception>
    internal IReadOnlyList<RouterChange> Change(RouterRoute route, RouterSlot slot, int number)
    {
        if (!route.Known.Contains(number))
        {
            throw RouterRefusals.NoVersion(slot, number.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }

        if (Share >= 100)
        {
            return route.Active == number && route.Canary is null && Options is null
                ? []
                : [new RouterChange(RouterChangeKind.Activated, slot.Name) { Version = number, Options = Options, By = Cause.By, Reason = Cause.Reason }];
        }

        return route.Active is null ? throw RouterRefusals.NoCanary(slot.Name, "it has no active version to share requests with; activate one first, without a share")
            : route.Active == number ? throw RouterRefusals.NoCanary(slot.Name, $"version {number} is the active one; a canary is another version beside it")
            : route.Canary == new RouterCanary(number, Share, Header) && Options is null ? []
            : [new RouterChange(RouterChangeKind.Canary, slot.Name) { Version = number, Share = Share, Header = Header, Options = Options, By = Cause.By, Reason = Cause.Reason }];
    }
}

/// <summary>A version as it stands.</summary>
/// <param name="Leases">Requests being served by it now.</param>
/// <param name="Requests">Served by it since the host started.</param>
/// <param name="Errors">Of those, failed by an exception out of the script, engine errors it let pass included.</param>
/// <param name="Share">Its part of all requests so far, 0 to 1.</param>
/// <param name="Traffic">Percent of the requests of its name that it takes now: a canary's share, and for the active version the rest.</param>
public sealed record RouterVersionInfo(
    string Name, int Version, RouterPhase State, string ContentHash, string Author, string Message, DateTimeOffset Time,
    long Leases, long Requests, long Errors, long PlanErrors, double Share, double Traffic, IReadOnlyList<string> Labels, IReadOnlyDictionary<string, string> Options)
{
    /// <summary>Calls of PlanStrategy that were due while one still ran.</summary>
    public long PlansSkipped { get; init; }
}

/// <summary>A router name and its versions, newest first.</summary>
/// <param name="ActiveVersion">What serves on this host.</param>
/// <param name="Labels">Versions by label.</param>
public sealed record RouterInfo(
    string Name, int? ActiveVersion, bool IsDefault, RouterCanary? Canary, IReadOnlyDictionary<string, int> Labels, IReadOnlyList<RouterVersionInfo> Versions)
{
    /// <summary>The last change was a rollback.</summary>
    public bool CameByRollback { get; init; }
}

/// <summary>A version with its text.</summary>
/// <param name="Files">The router's own file first.</param>
public sealed record RouterSourceInfo(RouterVersionInfo Version, IReadOnlyList<ScriptFile> Files, IReadOnlyList<RouterDiagnostic> Diagnostics);
