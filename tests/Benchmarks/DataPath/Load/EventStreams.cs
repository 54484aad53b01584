using System.Net;
using System.Net.Sockets;

namespace ScriptedServe.DataPathBenchmarks.Load;

/// <summary>
/// A load generator on bare sockets: each stream sends the next request when its answer has ended. It looks for the ends of events and of the
/// answer, and at nothing else.
/// </summary>
internal sealed class EventStreams(int port, byte[] request)
{
    private const int BufferBytes = 16 << 10;

    private long _events;
    private long _answers;

    public long Events => Interlocked.Read(ref _events);

    public long Answers => Interlocked.Read(ref _answers);

    /// <summary>Runs so many streams side by side until it is cancelled; then cuts them off.</summary>
    public Task RunAsync(int streams, CancellationToken stop) => Task.WhenAll(Enumerable.Range(0, streams).Select(_ => StreamAsync(stop)));

    /// <summary>Time from request to the answer's first body byte, one request after the other.</summary>
    public async Task<List<TimeSpan>> FirstChunksAsync(int requests, TimeProvider time)
    {
        var times = new List<TimeSpan>();
        using var socket = await ConnectAsync();
        var buffer = new byte[BufferBytes];
        for (var i = 0; i < requests; i++)
        {
            var start = time.GetTimestamp();
            await socket.SendAsync(request);
            var answer = new AnswerScanner();
            while (!answer.HasEnded)
            {
                var read = await ReceiveAsync(socket, buffer, default);
                var first = answer.Events == 0;
                answer.Scan(buffer.AsSpan(0, read));
                if (first && answer.Events > 0)
                {
                    times.Add(time.GetElapsedTime(start));
                }
            }
        }

        return times;
    }

    /// <summary>One answer's body, its chunked encoding undone.</summary>
    public async Task<byte[]> RecordAsync(string path)
    {
        using var client = new HttpClient();
        using var content = new StringContent(Workload.Body(paceMs: 0));
        using var answer = await client.PostAsync(new Uri($"http://127.0.0.1:{port}{path}"), content);
        return await answer.EnsureSuccessStatusCode().Content.ReadAsByteArrayAsync();
    }

    private async Task StreamAsync(CancellationToken stop)
    {
        using var socket = await ConnectAsync();
        var buffer = new byte[BufferBytes];
        try
        {
            while (!stop.IsCancellationRequested)
            {
                await socket.SendAsync(request, stop);
                var answer = new AnswerScanner();
                while (!answer.HasEnded)
                {
                    var before = answer.Events;
                    answer.Scan(buffer.AsSpan(0, await ReceiveAsync(socket, buffer, stop)));
                    Interlocked.Add(ref _events, answer.Events - before);
                }

                Interlocked.Increment(ref _answers);
            }
        }
        catch (OperationCanceledException)
        {
            // The round is over.
        }
    }

    private async Task<Socket> ConnectAsync()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, port);
        return socket;
    }

    private static async ValueTask<int> ReceiveAsync(Socket socket, byte[] buffer, CancellationToken stop)
    {
        var read = await socket.ReceiveAsync(buffer, stop);
        return read > 0 ? read : throw new InvalidOperationException("the connection was closed in the middle of an answer");
    }
}

/// <summary>Follows one chunked answer as it comes.</summary>
internal struct AnswerScanner
{
    private ulong _tail;

    /// <summary>Blank lines of LF alone: each ends an event.</summary>
    public int Events { get; private set; }

    public bool HasEnded { get; private set; }

    public void Scan(ReadOnlySpan<byte> bytes)
    {
        if (_tail == 0 && !bytes.StartsWith("HTTP/1.1 200"u8))
        {
            throw new InvalidOperationException($"the answer begins {System.Text.Encoding.ASCII.GetString(bytes[..Math.Min(bytes.Length, 200)])}");
        }

        Events += (byte)_tail == '\n' && bytes[0] == '\n' ? 1 : 0;
        Events += bytes.Count("\n\n"u8);
        foreach (var b in bytes[Math.Max(0, bytes.Length - 8)..])
        {
            _tail = (_tail << 8) | b;
        }

        // CR LF 0 CR LF CR LF
        HasEnded = (_tail & 0xff_ffff_ffff_ffff) == 0x0d0a_30_0d0a_0d0a;
    }
}
