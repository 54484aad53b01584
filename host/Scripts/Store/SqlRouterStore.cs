using System.Data.Common;
using System.Globalization;

namespace ScriptedServe.Host.Scripts.Store;

/// <summary>The store in SQL that SQLite and PostgreSQL both understand.</summary>
/// <remarks>
/// The one row of <c>router_log_head</c> is written first in every commit: whoever commits holds it until the end, so sequences are given
/// in the order of commits and a reader never sees a later entry before an earlier one.
/// </remarks>
public abstract class SqlRouterStore(TimeProvider time) : IRouterStore
{
    /// <summary>Of the tables below. A store with a higher one was written by a later version of the program.</summary>
    protected const int Schema = 1;

    /// <summary>Run in one transaction when the store is opened; does nothing to tables that are there.</summary>
    protected const string CreateTables = """
        CREATE TABLE IF NOT EXISTS router_store (id INTEGER PRIMARY KEY, version INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS router_log_head (id INTEGER PRIMARY KEY, last BIGINT NOT NULL);
        CREATE TABLE IF NOT EXISTS router_log (
            sequence BIGINT PRIMARY KEY, time TEXT NOT NULL, router TEXT NOT NULL, kind TEXT NOT NULL, change TEXT NOT NULL);
        CREATE TABLE IF NOT EXISTS router_names (router TEXT PRIMARY KEY, last_number INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS router_numbers (
            router TEXT NOT NULL, hash TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (router, hash), UNIQUE (router, number));
        CREATE TABLE IF NOT EXISTS router_versions (
            router TEXT NOT NULL, number INTEGER NOT NULL, hash TEXT NOT NULL, author TEXT NOT NULL, message TEXT NOT NULL, time TEXT NOT NULL,
            outcome TEXT NOT NULL, diagnostics TEXT NOT NULL, files TEXT NOT NULL, PRIMARY KEY (router, number));
        CREATE TABLE IF NOT EXISTS router_files_seen (place TEXT NOT NULL, router TEXT NOT NULL, hash TEXT, PRIMARY KEY (place, router));
        INSERT INTO router_log_head (id, last) VALUES (1, 0) ON CONFLICT (id) DO NOTHING;
        INSERT INTO router_store (id, version) VALUES (1, 1) ON CONFLICT (id) DO NOTHING;
        """;

    public abstract string Description { get; }

    public Task<VersionNumber> Number(string router, string hash, CancellationToken cancellationToken) => Write(async session =>
    {
        // The name's row is held to the end: of two hosts with the same text one gives the number and the other finds it.
        await session.Run("INSERT INTO router_names (router, last_number) VALUES (@a, 0) ON CONFLICT (router) DO NOTHING", router);
        await session.Run("UPDATE router_names SET last_number = last_number WHERE router = @a", router);
        var known = await session.Read(
            "SELECT n.number, v.router, v.number, v.hash, v.author, v.message, v.time, v.outcome, v.diagnostics FROM router_numbers n LEFT JOIN router_versions v ON v.router = n.router AND v.number = n.number WHERE n.router = @a AND n.hash = @b",
            row => new VersionNumber(row.GetInt32(0), row.IsDBNull(1) ? null : Version(row, 1)), router, hash);
        if (known.Count > 0)
        {
            return known[0];
        }

        var number = (await session.Read("UPDATE router_names SET last_number = last_number + 1 WHERE router = @a RETURNING last_number", row => row.GetInt32(0), router))[0];
        await session.Run("INSERT INTO router_numbers (router, hash, number) VALUES (@a, @b, @c)", router, hash, number);
        return new VersionNumber(number, null);
    }, cancellationToken);

    public Task<IReadOnlyList<LoggedChange>> Commit(long after, Func<IReadOnlyList<LoggedChange>, StoreCommit> decide, CancellationToken cancellationToken) => Write<IReadOnlyList<LoggedChange>>(async session =>
    {
        var last = (await session.Read("UPDATE router_log_head SET last = last WHERE id = 1 RETURNING last", row => row.GetInt64(0)))[0];
        var entries = last > after ? await Entries(session, after) : [];
        var commit = decide([.. entries]);
        foreach (var change in commit.Changes)
        {
            var entry = new LoggedChange(++last, time.GetUtcNow(), change);
            await session.Run(
                "INSERT INTO router_log (sequence, time, router, kind, change) VALUES (@a, @b, @c, @d, @e)",
                entry.Sequence, Text(entry.Time), change.Router, change.Kind.ToString(), StoreJson.Write(change));
            entries.Add(entry);
        }

        await session.Run("UPDATE router_log_head SET last = @a WHERE id = 1", last);
        await Keep(session, commit);
        return entries;
    }, cancellationToken);

    public Task<IReadOnlyList<LoggedChange>> ReadLog(long after, CancellationToken cancellationToken) =>
        Read<IReadOnlyList<LoggedChange>>(async session => await Entries(session, after), cancellationToken);

    public Task<IReadOnlyList<StoredVersion>> ReadVersions(string router, CancellationToken cancellationToken) => Read<IReadOnlyList<StoredVersion>>(async session =>
        await session.Read(
            "SELECT router, number, hash, author, message, time, outcome, diagnostics FROM router_versions WHERE router = @a ORDER BY number", row => Version(row, 0), router), cancellationToken);

    public Task<IReadOnlyList<ScriptFile>?> ReadFiles(string router, int number, CancellationToken cancellationToken) => Read(async session =>
        (await session.Read("SELECT files FROM router_versions WHERE router = @a AND number = @b", row => row.GetString(0), router, number)) is [var files]
            ? StoreJson.Read<IReadOnlyList<ScriptFile>>(files)
            : null, cancellationToken);

    public Task<IReadOnlyList<FileSeen>> ReadFilesSeen(CancellationToken cancellationToken) => Read<IReadOnlyList<FileSeen>>(async session =>
        await session.Read("SELECT place, router, hash FROM router_files_seen WHERE hash IS NOT NULL", row => new FileSeen(row.GetString(0), row.GetString(1), row.GetString(2))), cancellationToken);

    public abstract Task Follow(Func<Task> grown, CancellationToken cancellationToken);

    public abstract ValueTask DisposeAsync();

    /// <summary>Runs statements that only read.</summary>
    /// <exception cref="RouterStoreException">It cannot be reached.</exception>
    protected abstract Task<T> Read<T>(Func<SqlSession, Task<T>> work, CancellationToken cancellationToken);

    /// <summary>Runs statements in a transaction; when this returns, their effect is on the disk.</summary>
    /// <exception cref="RouterStoreException">It cannot be reached or written.</exception>
    protected abstract Task<T> Write<T>(Func<SqlSession, Task<T>> work, CancellationToken cancellationToken);

    private static async Task Keep(SqlSession session, StoreCommit commit)
    {
        if (commit.Version is var (version, files))
        {
            await session.Run(
                """
                INSERT INTO router_versions (router, number, hash, author, message, time, outcome, diagnostics, files) VALUES (@a, @b, @c, @d, @e, @f, @g, @h, @i)
                ON CONFLICT (router, number) DO UPDATE SET outcome = excluded.outcome, diagnostics = excluded.diagnostics
                """,
                version.Router, version.Number, version.Hash, version.Origin.Author, version.Origin.Message, Text(version.Time),
                version.Outcome.ToString(), StoreJson.Write(version.Diagnostics), StoreJson.Write(files));
        }

        foreach (var gone in commit.Changes.Where(change => change is { Kind: RouterChangeKind.Deleted, Version: not null }))
        {
            await session.Run("DELETE FROM router_versions WHERE router = @a AND number = @b", gone.Router, gone.Version!.Value);
            await session.Run("DELETE FROM router_numbers WHERE router = @a AND number = @b", gone.Router, gone.Version!.Value);
        }

        if (commit.Seen is { } seen)
        {
            await session.Run(
                "INSERT INTO router_files_seen (place, router, hash) VALUES (@a, @b, @c) ON CONFLICT (place, router) DO UPDATE SET hash = excluded.hash",
                seen.Place, seen.Router, seen.Hash);
        }
    }

    private static Task<List<LoggedChange>> Entries(SqlSession session, long after) => session.Read(
        "SELECT sequence, time, change FROM router_log WHERE sequence > @a ORDER BY sequence",
        row => new LoggedChange(row.GetInt64(0), Time(row.GetString(1)), StoreJson.Read<RouterChange>(row.GetString(2))), after);

    private static StoredVersion Version(DbDataReader row, int at) => new(
        row.GetString(at), row.GetInt32(at + 1), row.GetString(at + 2), new RouterOrigin(row.GetString(at + 3), row.GetString(at + 4)), Time(row.GetString(at + 5)),
        Enum.Parse<VersionOutcome>(row.GetString(at + 6)), StoreJson.Read<IReadOnlyList<RouterDiagnostic>>(row.GetString(at + 7)));

    private static string Text(DateTimeOffset time) => time.ToString("O", CultureInfo.InvariantCulture);

    private static DateTimeOffset Time(string text) => DateTimeOffset.ParseExact(text, "O", CultureInfo.InvariantCulture);
}
