using System.Data.Common;
using Npgsql;

namespace ScriptedServe.Host.Scripts.Store;

/// <summary>Where a PostgreSQL database is and how to log in.</summary>
/// <param name="ConnectionString">With the password: never to be shown.</param>
/// <param name="Description">Without it.</param>
public sealed record PostgresAddress(string ConnectionString, string Description)
{
    /// <summary>Reads <c>postgres://user:password@host:port/database?sslmode=require</c>, or a connection string of Npgsql (<c>Host=…;Database=…</c>).</summary>
    /// <exception cref="FormatException">It is neither; the message shows nothing of it but the name of a wrong part.</exception>
    public static PostgresAddress Parse(string text)
    {
        var builder = new NpgsqlConnectionStringBuilder();
        if (text.StartsWith("postgres://", StringComparison.Ordinal) || text.StartsWith("postgresql://", StringComparison.Ordinal))
        {
            ReadUrl(text, builder);
        }
        else
        {
            try
            {
                builder.ConnectionString = text;
            }
            catch (Exception e) when (e is ArgumentException or FormatException)
            {
                throw new FormatException("it is neither postgres://user:password@host:port/database nor a connection string such as Host=db;Database=routers;Username=scriptedserve");
            }
        }

        if (string.IsNullOrEmpty(builder.Host))
        {
            throw new FormatException("it names no host");
        }

        // A host that waits for a dead database serves its requests meanwhile, but whoever pushes a router wants an answer.
        var given = new DbConnectionStringBuilder { ConnectionString = builder.ConnectionString };
        foreach (var (keyword, value) in new (string, object)[] { ("Timeout", 5), ("Command Timeout", 5), ("Keepalive", 10), ("Application Name", "scriptedserve") })
        {
            if (!given.ContainsKey(keyword))
            {
                builder[keyword] = value;
            }
        }

        return new PostgresAddress(builder.ConnectionString, $"postgres://{builder.Host}:{builder.Port}/{builder.Database}");
    }

    /// <summary>Hides the secrets.</summary>
    public override string ToString() => Description;

    private static void ReadUrl(string text, NpgsqlConnectionStringBuilder builder)
    {
        // postgres:///database has no host of its own; it may follow as ?host=.
        var isLocal = text.Contains(":///", StringComparison.Ordinal);
        if (!Uri.TryCreate(isLocal ? text.Replace(":///", "://local/", StringComparison.Ordinal) : text, UriKind.Absolute, out var url))
        {
            throw new FormatException("it is no URL: write postgres://user:password@host:port/database, with %40 for an @ in the password");
        }

        builder.Host = isLocal ? null : url.Host;
        if (url.Port > 0)
        {
            builder.Port = url.Port;
        }

        if (url.AbsolutePath.Length > 1)
        {
            builder.Database = Uri.UnescapeDataString(url.AbsolutePath[1..]);
        }

        if (url.UserInfo.Length > 0)
        {
            var parts = url.UserInfo.Split(':', 2);
            builder.Username = Uri.UnescapeDataString(parts[0]);
            builder.Password = parts.Length > 1 ? Uri.UnescapeDataString(parts[1]) : null;
        }

        foreach (var pair in url.Query.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = pair.Split('=', 2);
            var name = Uri.UnescapeDataString(parts[0]);
            try
            {
                builder[name switch { "user" => "Username", "sslmode" => "SSL Mode", "dbname" => "Database", _ => name }] =
                    parts.Length > 1 ? Uri.UnescapeDataString(parts[1]).Replace("verify-full", "VerifyFull", StringComparison.Ordinal).Replace("verify-ca", "VerifyCA", StringComparison.Ordinal) : "";
            }
            catch (Exception e) when (e is ArgumentException or FormatException or InvalidCastException or KeyNotFoundException)
            {
                throw new FormatException($"its part {name} is unknown or has a value that cannot be");
            }
        }
    }
}
