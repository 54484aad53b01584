using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace ScriptedServe.DataPathBenchmarks.Stub;

/// <summary>
/// What a plain proxy has behind it: an HTTP/1.1 server on bare sockets that answers every request with the same recorded events, each sent by itself
/// like the tokens of <see cref="StubEngine"/>.
/// </summary>
internal sealed class SseUpstream : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly TickSource _ticks;
    private readonly byte[][] _sends;

    /// <param name="body">An answer of the host, as it went over the wire without its chunked encoding.</param>
    public SseUpstream(byte[] body, TickSource ticks)
    {
        _ticks = ticks;
        _sends = Sends(body);
        _listener.Start(1024);
        _ = AcceptAsync();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public void Dispose() => _listener.Dispose();

    /// <summary>One send a token: the role goes with the first, the end with the last.</summary>
    private static byte[][] Sends(byte[] body)
    {
        var events = Encoding.UTF8.GetString(body).Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(text => text + "\n\n").ToList();
        List<string> sends = [events[0] + events[1], .. events[2..(Workload.Chunks)], string.Concat(events[Workload.Chunks..])];
        if (sends.Count != Workload.Chunks)
        {
            throw new InvalidOperationException($"the recorded answer has {events.Count} events, which do not make {Workload.Chunks} sends");
        }

        return [.. sends.Select((text, index) => Encoding.UTF8.GetBytes(
            (index == 0 ? "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n" : "")
            + string.Create(CultureInfo.InvariantCulture, $"{Encoding.UTF8.GetByteCount(text):x}\r\n{text}\r\n")
            + (index == sends.Count - 1 ? "0\r\n\r\n" : "")))];
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = ServeAsync(await _listener.AcceptSocketAsync());
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The benchmark is over.
        }
    }

    private async Task ServeAsync(Socket socket)
    {
        using var owned = socket;
        socket.NoDelay = true;
        var buffer = new byte[16 << 10];
        try
        {
            while (await ReadRequestAsync(socket, buffer) is { } paceMs)
            {
                for (var index = 0; index < _sends.Length; index++)
                {
                    if (index > 0)
                    {
                        await _ticks.NextAsync(paceMs, CancellationToken.None);
                    }

                    await socket.SendAsync(_sends[index]);
                }
            }
        }
        catch (SocketException)
        {
            // The client left.
        }
    }

    /// <returns>The pace it asks for; null at the connection's end.</returns>
    private static async Task<int?> ReadRequestAsync(Socket socket, byte[] buffer)
    {
        for (var have = 0; ;)
        {
            var read = await socket.ReceiveAsync(buffer.AsMemory(have));
            if (read == 0)
            {
                return null;
            }

            have += read;
            if (IsWhole(buffer.AsSpan(0, have)))
            {
                return Number(buffer.AsSpan(0, have), "\"seed\":"u8);
            }
        }
    }

    private static bool IsWhole(ReadOnlySpan<byte> request)
    {
        var head = request.IndexOf("\r\n\r\n"u8);
        return head >= 0 && request.Length >= head + 4 + Number(request, "Content-Length: "u8);
    }

    private static int Number(ReadOnlySpan<byte> text, ReadOnlySpan<byte> after)
    {
        var rest = text[(text.IndexOf(after) + after.Length)..];
        var number = 0;
        for (var index = 0; rest[index] is >= (byte)'0' and <= (byte)'9'; index++)
        {
            number = (number * 10) + rest[index] - '0';
        }

        return number;
    }
}
