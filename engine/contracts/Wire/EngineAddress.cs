using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace ScriptedServe.Contracts.Wire;

/// <summary>Where an engine listens: <c>unix:PATH</c> or <c>http://HOST:PORT</c> (HTTP/2 without TLS).</summary>
public sealed record EngineAddress
{
    /// <summary>The kernel's limit on a unix socket's path, its terminator aside.</summary>
    private const int LongestSocketPathBytes = 107;

    private EngineAddress(string? socketPath, string host, int port)
    {
        SocketPath = socketPath;
        Host = host;
        Port = port;
    }

    /// <summary>Null for TCP.</summary>
    public string? SocketPath { get; }

    /// <summary>A name, an IPv4 or a bare IPv6 address, or <c>*</c> for every interface. Empty for a unix socket.</summary>
    public string Host { get; }

    /// <summary>0 when listening means any free port.</summary>
    public int Port { get; }

    /// <summary>True if only this machine can reach it; any other address is to be guarded by a token.</summary>
    public bool IsLocal =>
        SocketPath is not null
        || Host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
        || (IPAddress.TryParse(Host, out var ip) && IPAddress.IsLoopback(ip));

    public static EngineAddress Unix(string path) => Parse("unix:" + path);

    public static EngineAddress Tcp(string host, int port) => new(null, host, port);

    /// <exception cref="FormatException">The message says what is wrong with it.</exception>
    public static EngineAddress Parse(string text)
    {
        if (text.StartsWith("unix:", StringComparison.Ordinal))
        {
            return ParseSocketPath(text);
        }

        if (!Uri.TryCreate(text, UriKind.Absolute, out var uri) || uri.Scheme != Uri.UriSchemeHttp)
        {
            // Uri knows no wildcard host.
            if (text.StartsWith("http://*:", StringComparison.Ordinal)
                && ushort.TryParse(text.AsSpan("http://*:".Length), NumberStyles.None, CultureInfo.InvariantCulture, out var port))
            {
                return new(null, "*", port);
            }

            throw new FormatException($"'{text}' is not an engine address: expected unix:PATH or http://HOST:PORT.");
        }

        if (uri.PathAndQuery != "/" || uri.UserInfo.Length > 0 || uri.Fragment.Length > 0)
        {
            throw new FormatException($"'{text}' is not an engine address: http://HOST:PORT takes no path, query or user.");
        }

        return new(null, uri.HostNameType == UriHostNameType.IPv6 ? uri.Host.Trim('[', ']') : uri.Host, uri.Port);
    }

    public override string ToString() =>
        SocketPath is not null ? "unix:" + SocketPath : $"http://{(Host.Contains(':', StringComparison.Ordinal) ? $"[{Host}]" : Host)}:{Port}";

    private static EngineAddress ParseSocketPath(string text)
    {
        var path = text["unix:".Length..];
        // unix:///run/x.sock is how gRPC names an absolute path.
        path = path.StartsWith("///", StringComparison.Ordinal) ? path[2..] : path;
        if (path.Length == 0)
        {
            throw new FormatException("'unix:' names no path: expected unix:PATH.");
        }

        path = Path.GetFullPath(path);
        var pathBytes = Encoding.UTF8.GetByteCount(path);
        return pathBytes <= LongestSocketPathBytes
            ? new(path, "", 0)
            : throw new FormatException($"The socket path '{path}' has {pathBytes} bytes; the system allows {LongestSocketPathBytes}.");
    }

    internal EndPoint ToEndPoint() => SocketPath is not null ? new UnixDomainSocketEndPoint(SocketPath) : new DnsEndPoint(Host, Port);
}
