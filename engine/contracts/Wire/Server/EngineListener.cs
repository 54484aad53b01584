using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace ScriptedServe.Contracts.Wire.Server;

/// <summary>Makes Kestrel listen where an engine is to be reached.</summary>
public static class EngineListener
{
    private const int MaxStreams = 2048;

    /// <summary>Listens for HTTP/2 without TLS, with the limits that long streams need. A socket file left by a dead process is replaced.</summary>
    /// <exception cref="IOException">Another process listens on the socket, or the file there is no socket.</exception>
    public static void ListenEngine(this KestrelServerOptions kestrel, EngineAddress address)
    {
        kestrel.AddServerHeader = false;
        // One stream whose reader pauses must not cost the others their connection; a reader that is gone is found by pings.
        kestrel.Limits.MinResponseDataRate = null;
        // Streams of one connection share packets, and a caller with more than this opens another.
        kestrel.Limits.Http2.MaxStreamsPerConnection = MaxStreams;
        kestrel.Limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(20);
        kestrel.Limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(20);

        if (address.SocketPath is { } path)
        {
            RemoveStaleSocket(path);
            kestrel.ListenUnixSocket(path, UseHttp2);
        }
        else if (address.Host == "*")
        {
            kestrel.ListenAnyIP(address.Port, UseHttp2);
        }
        else if (IPAddress.TryParse(address.Host, out var ip))
        {
            kestrel.Listen(ip, address.Port, UseHttp2);
        }
        else if (address.IsLocal)
        {
            // ListenLocalhost binds two sockets, and cannot do so on a free port.
            kestrel.Listen(IPAddress.Loopback, address.Port, UseHttp2);
        }
        else
        {
            throw new IOException($"Cannot listen on {address}: the host must be an IP address of this machine, localhost, or * for every interface.");
        }
    }

    private static void UseHttp2(ListenOptions listen) => listen.Protocols = HttpProtocols.Http2;

    private static void RemoveStaleSocket(string path)
    {
        if (!File.Exists(path))
        {
            return;
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused && new FileInfo(path).Length == 0)
        {
            File.Delete(path);
            return;
        }
        catch (SocketException e)
        {
            throw new IOException($"Cannot listen on unix:{path}: a file is there that is no socket of a dead process ({e.Message}).", e);
        }

        throw new IOException($"Cannot listen on unix:{path}: another process listens there.");
    }
}
