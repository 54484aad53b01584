using System.Globalization;
using Microsoft.Data.Sqlite;

namespace ScriptedServe.Host.Scripts.Store;

/// <summary>The store of one host: a SQLite database in a folder that only its user can read, and that only one host uses at a time.</summary>
/// <remarks>Write-ahead log, synced at each commit. One connection, one user of it at a time.</remarks>
public sealed class SqliteRouterStore : SqlRouterStore
{
    public const string FileName = "routers.db";

    private readonly string _path;
    private readonly FileStream _inUse;
    private readonly SqliteConnection _connection;

    private SqliteRouterStore(string path, FileStream inUse, SqliteConnection connection, TimeProvider time)
        : base(time) => (_path, _inUse, _connection) = (path, inUse, connection);

    public override string Description => _path;

    private SemaphoreSlim Turn { get; } = new(1, 1);

    /// <summary>Opens the store in a folder, which is made if need be.</summary>
    /// <exception cref="RouterStoreInUseException">Another host has it.</exception>
    /// <exception cref="RouterStoreException">It cannot be opened; the message says what to do.</exception>
    public static async Task<SqliteRouterStore> Open(string folder, TimeProvider time)
    {
        var path = Path.Combine(Path.GetFullPath(folder), FileName);
        var inUse = Claim(Path.GetFullPath(folder), path);
        SqliteConnection? connection = null;
        try
        {
            connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false, DefaultTimeout = 5 }.ToString());
            connection.Open();
            await Prepare(new SqlSession(connection, null, CancellationToken.None), path);
            foreach (var file in Directory.EnumerateFiles(Path.GetDirectoryName(path)!, FileName + "*"))
            {
                OwnerOnly(file);
            }

            return new SqliteRouterStore(path, inUse, connection, time);
        }
        catch (Exception e)
        {
            connection?.Dispose();
            await inUse.DisposeAsync();
            throw e is SqliteException or FormatException ? Failed(path, e) : e;
        }
    }

    public override async Task Follow(Func<Task> grown, CancellationToken cancellationToken) =>
        await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    public override async ValueTask DisposeAsync()
    {
        await Turn.WaitAsync();
        await _connection.DisposeAsync();
        await _inUse.DisposeAsync();
    }

    protected override Task<T> Read<T>(Func<SqlSession, Task<T>> work, CancellationToken cancellationToken) => Work(() => work(new SqlSession(_connection, null, cancellationToken)), cancellationToken);

    protected override Task<T> Write<T>(Func<SqlSession, Task<T>> work, CancellationToken cancellationToken) => Work(async () =>
    {
        await using var transaction = _connection.BeginTransaction(deferred: false);
        var result = await work(new SqlSession(_connection, transaction, cancellationToken));
        transaction.Commit();
        return result;
    }, cancellationToken);

    private async Task<T> Work<T>(Func<Task<T>> work, CancellationToken cancellationToken)
    {
        await Turn.WaitAsync(cancellationToken);
        try
        {
            // SQLite waits for the disk where it is called.
            await PoolThread.Take();
            return await work();
        }
        catch (SqliteException e)
        {
            throw Failed(_path, e);
        }
        finally
        {
            Turn.Release();
        }
    }

    private static FileStream Claim(string folder, string path)
    {
        try
        {
            if (OperatingSystem.IsWindows())
            {
                Directory.CreateDirectory(folder);
            }
            else
            {
                Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            }

            var claim = Path.Combine(folder, "in-use");
            try
            {
                var stream = new FileStream(claim, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
                OwnerOnly(claim);
                return stream;
            }
            catch (IOException e) when (e.HResult is 11 or unchecked((int)0x80070020))
            {
                throw new RouterStoreInUseException($"Another host uses the router store in {folder}: give this one a folder of its own (--data), or let both use PostgreSQL (--store).", e);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RouterStoreException($"The router store {path} cannot be opened: {e.Message.TrimEnd('.')}. Name another folder with --data, or keep versions in memory only with --data none.", e);
        }
    }

    private static async Task Prepare(SqlSession session, string path)
    {
        await session.Run("PRAGMA journal_mode = WAL");
        await session.Run("PRAGMA synchronous = FULL");
        var check = await session.Read("PRAGMA quick_check(1)", row => row.GetString(0));
        if (check is not ["ok"])
        {
            throw Damaged(path, string.Join("; ", check), null);
        }

        if (await session.Read("SELECT name FROM sqlite_master WHERE name = 'router_store'", row => row.GetString(0)) is { Count: > 0 }
            && await session.Read("SELECT version FROM router_store", row => row.GetInt32(0)) is [var version] && version != Schema)
        {
            throw new RouterStoreException(string.Create(
                CultureInfo.InvariantCulture,
                $"The router store {path} has format {version}, and this program knows format {Schema}: it was written by a later version. Run that one, or name another folder with --data."));
        }

        await session.Run("BEGIN IMMEDIATE; " + CreateTables + " COMMIT;");
    }

    private static RouterStoreException Failed(string path, Exception e)
    {
        const int Corrupt = 11;
        const int NotADatabase = 26;
        return e is FormatException || e is SqliteException { SqliteErrorCode: Corrupt or NotADatabase }
            ? Damaged(path, e.Message, e)
            : new RouterStoreException($"The router store {path} cannot be used: {e.Message.TrimEnd('.')}.", e);
    }

    private static RouterStoreException Damaged(string path, string why, Exception? inner) => new(
        $"The router store {path} is damaged ({why.TrimEnd('.')}). Put a copy in its place, or move it away (with {Path.GetFileName(path)}-wal, if it is there) to begin anew from the scripts folder.", inner);

    private static void OwnerOnly(string file)
    {
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }
    }
}

/// <summary>Another host uses the store.</summary>
public sealed class RouterStoreInUseException(string message, Exception? inner = null) : Exception(message, inner);
