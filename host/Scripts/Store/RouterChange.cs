namespace ScriptedServe.Host.Scripts.Store;

/// <summary>Kinds of entries in the log of routers.</summary>
public enum RouterChangeKind
{
    /// <summary>A version compiled and loaded on the host it was given to.</summary>
    Added,

    /// <summary>A version did not.</summary>
    Rejected,

    /// <summary>A version serves its name. Ends a canary.</summary>
    Activated,

    /// <summary>A version takes a share of the requests of its name beside the active one.</summary>
    Canary,

    /// <summary><see cref="RouterChange.From"/> serves no more: a canary ends, or <see cref="RouterChange.Version"/> serves again.</summary>
    RolledBack,

    /// <summary>A label names a version.</summary>
    Labelled,

    /// <summary>A label names nothing.</summary>
    Unlabelled,

    /// <summary>A version is forgotten; without a version, the name serves no more and its versions are kept.</summary>
    Deleted,
}

/// <summary>Something that happens to a router, as the log keeps it.</summary>
public sealed record RouterChange(RouterChangeKind Kind, string Router)
{
    public int? Version { get; init; }

    /// <summary>Of a rollback: the version that is taken out.</summary>
    public int? From { get; init; }

    /// <summary>Of a canary: percent of the requests, above 0 and below 100.</summary>
    public double? Share { get; init; }

    /// <summary>Of a canary: the request header whose value decides; null for the request's id.</summary>
    public string? Header { get; init; }

    public string? Label { get; init; }

    /// <summary>Values for the script's Options; null leaves them.</summary>
    public IReadOnlyDictionary<string, string>? Options { get; init; }

    /// <summary>Who asked for it; may be empty.</summary>
    public string By { get; init; } = "";

    /// <summary>Why; may be empty.</summary>
    public string Reason { get; init; } = "";
}

/// <summary>An entry of the log. Sequences rise by one, in the order in which changes are in force.</summary>
public sealed record LoggedChange(long Sequence, DateTimeOffset Time, RouterChange Change);
