namespace ScriptedServe.Host.Scripts.Store;

/// <summary>What became of a version's text where it was given.</summary>
public enum VersionOutcome
{
    Accepted,
    Rejected,
}

/// <summary>A version as the store keeps it, without its text.</summary>
/// <param name="Hash">Of its files; of one name no two versions have the same.</param>
public sealed record StoredVersion(
    string Router, int Number, string Hash, RouterOrigin Origin, DateTimeOffset Time, VersionOutcome Outcome, IReadOnlyList<RouterDiagnostic> Diagnostics);

/// <summary>A number for a text.</summary>
/// <param name="Known">The version, if the same text has been one before.</param>
public sealed record VersionNumber(int Number, StoredVersion? Known);

/// <summary>What a host last made of a router's file.</summary>
/// <param name="Place">The host and the folder.</param>
/// <param name="Hash">Of the file and what it loads; null when it is gone.</param>
public sealed record FileSeen(string Place, string Router, string? Hash);

/// <summary>Written in one piece: all of it is there after a crash, or nothing.</summary>
/// <param name="Version">A version to keep or to replace, with its files.</param>
public sealed record StoreCommit(IReadOnlyList<RouterChange> Changes, (StoredVersion Stored, IReadOnlyList<ScriptFile> Files)? Version = null, FileSeen? Seen = null);

/// <summary>
/// Keeps versions of routers and the log of what happened to them. A commit that has returned survives the end of the process.
/// Thread-safe.
/// </summary>
public interface IRouterStore : IAsyncDisposable
{
    /// <summary>Where it is, without secrets.</summary>
    string Description { get; }

    /// <summary>The number of the version that has this text, or a new one, which nobody gets again.</summary>
    /// <exception cref="RouterStoreException">It cannot be reached.</exception>
    Task<VersionNumber> Number(string router, string hash, CancellationToken cancellationToken);

    /// <summary>
    /// Appends to the log, one host at a time: the order of commits is the order of sequences. A deletion of a version in the changes also
    /// deletes its text.
    /// </summary>
    /// <param name="after">The last sequence the caller has applied.</param>
    /// <param name="decide">Given the entries after that one, says what to write. What it throws passes through, and nothing is written.</param>
    /// <returns>All entries after <paramref name="after"/>, the new ones last.</returns>
    /// <exception cref="RouterStoreException">It cannot be reached or written.</exception>
    Task<IReadOnlyList<LoggedChange>> Commit(long after, Func<IReadOnlyList<LoggedChange>, StoreCommit> decide, CancellationToken cancellationToken);

    /// <exception cref="RouterStoreException">It cannot be reached.</exception>
    Task<IReadOnlyList<LoggedChange>> ReadLog(long after, CancellationToken cancellationToken);

    /// <summary>The versions of a name, by number.</summary>
    /// <exception cref="RouterStoreException">It cannot be reached.</exception>
    Task<IReadOnlyList<StoredVersion>> ReadVersions(string router, CancellationToken cancellationToken);

    /// <summary>A version's files, its own first; null if there is no such version.</summary>
    /// <exception cref="RouterStoreException">It cannot be reached.</exception>
    Task<IReadOnlyList<ScriptFile>?> ReadFiles(string router, int number, CancellationToken cancellationToken);

    /// <exception cref="RouterStoreException">It cannot be reached.</exception>
    Task<IReadOnlyList<FileSeen>> ReadFilesSeen(CancellationToken cancellationToken);

    /// <summary>Calls back whenever the log may have grown by another host's doing, and after each time the store was out of reach; until cancelled.</summary>
    Task Follow(Func<Task> grown, CancellationToken cancellationToken);
}

/// <summary>The store cannot do it. The message names the store, the cause and what to do, and no secrets.</summary>
public sealed class RouterStoreException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>The connection was lost while the change was being made final: it may be in force.</summary>
    public bool IsOutcomeUnknown { get; init; }
}
