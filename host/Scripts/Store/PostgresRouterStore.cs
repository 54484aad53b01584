using System.Data.Common;
using System.Net.Sockets;
using Npgsql;

namespace ScriptedServe.Host.Scripts.Store;

/// <summary>The store of several hosts: a PostgreSQL database. What one commits, the others hear of at once.</summary>
public sealed class PostgresRouterStore : SqlRouterStore
{
    private const string Channel = "scriptedserve_routers";

    /// <summary>Taken while tables are made: two hosts may start at once.</summary>
    private const long SchemaLock = 0x5353_726f_7574;

    /// <summary>Between two attempts to reach it.</summary>
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(250);

    /// <summary>Without news the log is read all the same: a connection may be dead without anybody saying so.</summary>
    private static readonly TimeSpan LongestSilence = TimeSpan.FromSeconds(10);

    private readonly NpgsqlDataSource _source;
    private readonly TimeProvider _time;

    private PostgresRouterStore(NpgsqlDataSource source, string description, TimeProvider time)
        : base(time) => (_source, Description, _time) = (source, description, time);

    public override string Description { get; }

    /// <param name="address">As <see cref="PostgresAddress.Parse"/> gives it.</param>
    /// <exception cref="RouterStoreException">It cannot be reached, or was written by a later version.</exception>
    public static async Task<PostgresRouterStore> Open(PostgresAddress address, TimeProvider time, CancellationToken cancellationToken)
    {
        var store = new PostgresRouterStore(NpgsqlDataSource.Create(address.ConnectionString), address.Description, time);
        try
        {
            await store.Write(async session =>
            {
                await session.Run($"SELECT pg_advisory_xact_lock({SchemaLock})");
                await session.Run(CreateTables);
                var version = (await session.Read("SELECT version FROM router_store", row => row.GetInt32(0)))[0];
                return version == Schema
                    ? version
                    : throw new RouterStoreException($"The router store {address.Description} has format {version}, and this program knows format {Schema}: it was written by a later version. Run that one, or name another database with --store.");
            }, cancellationToken);
            return store;
        }
        catch
        {
            await store.DisposeAsync();
            throw;
        }
    }

    public override async Task Follow(Func<Task> grown, CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                await using var connection = await _source.OpenConnectionAsync(cancellationToken);
                await using (var listen = new NpgsqlCommand($"LISTEN {Channel}", connection))
                {
                    await listen.ExecuteNonQueryAsync(cancellationToken);
                }

                // Once listening, whatever was missed is read.
                while (true)
                {
                    await PoolThread.Take();
                    await grown();
                    await connection.WaitAsync(LongestSilence, cancellationToken);
                }
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested && (IsOutage(e) || e is RouterStoreException))
            {
                await Task.Delay(Pause, _time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (Exception) when (cancellationToken.IsCancellationRequested)
            {
                return;
            }
        }
    }

    public override ValueTask DisposeAsync() => _source.DisposeAsync();

    protected override async Task<T> Read<T>(Func<SqlSession, Task<T>> work, CancellationToken cancellationToken)
    {
        try
        {
            await using var connection = await _source.OpenConnectionAsync(cancellationToken);
            return await work(new SqlSession(connection, null, cancellationToken));
        }
        catch (Exception e) when (IsOutage(e))
        {
            throw OutOfReach(e);
        }
        finally
        {
            await PoolThread.Take();
        }
    }

    protected override async Task<T> Write<T>(Func<SqlSession, Task<T>> work, CancellationToken cancellationToken)
    {
        for (var isFirst = true; ; isFirst = false)
        {
            var ending = false;
            try
            {
                await using var connection = await _source.OpenConnectionAsync(cancellationToken);
                await using var transaction = await connection.BeginTransactionAsync(cancellationToken);
                var session = new SqlSession(connection, transaction, cancellationToken);
                var result = await work(session);
                await session.Run($"NOTIFY {Channel}");

                // From here on it is for the server to say, not for a caller that goes away.
                ending = true;
                await transaction.CommitAsync(CancellationToken.None);
                return result;
            }
            catch (NpgsqlException e) when (isFirst && !ending && e is not PostgresException && !cancellationToken.IsCancellationRequested)
            {
                // Connections kept from before the server's restart; nothing has been written.
                _source.Clear();
            }
            catch (Exception e) when (IsOutage(e))
            {
                throw ending
                    ? new RouterStoreException($"The connection to the router store {Description} broke while the change was being written: it is not known whether it is in force. See the list of routers once the store is back.", e) { IsOutcomeUnknown = true }
                    : OutOfReach(e);
            }
            finally
            {
                await PoolThread.Take();
            }
        }
    }

    private RouterStoreException OutOfReach(Exception e) => new($"The router store {Description} cannot be used now ({Cause(e)}); nothing has changed.", e);

    private static bool IsOutage(Exception e) => e is DbException or SocketException or TimeoutException or IOException;

    /// <summary>The server's own words, and none of the connection string.</summary>
    private static string Cause(Exception e) => e switch
    {
        PostgresException server => $"{server.SqlState}: {server.MessageText}",
        { InnerException: { } inner } => Cause(inner),
        _ => e.Message.TrimEnd('.'),
    };
}
