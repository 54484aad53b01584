using System.Net;
using System.Net.Sockets;
using System.Text;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Client.Http2;

namespace ScriptedServe.Contracts.Tests.Wire;

/// <summary>A server of bare HTTP/2 frames, which says what a test has it say. One script serves the connections one after the other.</summary>
internal sealed class RawServer : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _running;

    /// <param name="serve">Is given the connection and its number, from 0; the connection closes when it returns.</param>
    public RawServer(Func<Link, int, Task> serve)
    {
        _listener.Start();
        _running = RunAsync(serve);
    }

    public EngineAddress Address => EngineAddress.Tcp("127.0.0.1", ((IPEndPoint)_listener.LocalEndpoint).Port);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Stop();
        await _running.ContinueWith(_ => { }, TaskScheduler.Default);
        _stop.Dispose();
    }

    public static byte[] Frame(FrameType type, int flags, int stream, params byte[] payload)
    {
        var frame = new byte[FrameHeader.Bytes + payload.Length];
        new FrameHeader(payload.Length, type, (FrameFlags)flags, stream).Write(frame);
        payload.CopyTo(frame, FrameHeader.Bytes);
        return frame;
    }

    /// <summary>:status 200 and the content type of gRPC.</summary>
    public static byte[] Headers(int stream) => Frame(FrameType.Headers, 4, stream, [0x88, 0x0f, 0x10, 16, .. "application/grpc"u8]);

    public static byte[] Reply(int stream, string engineId = "raw") => Frame(FrameType.Data, 0, stream, MessageFrames.Of(new EngineStatus { EngineId = engineId }));

    public static byte[] Trailers(int stream, string status = "0") => Frame(FrameType.Headers, 4 | 1, stream, [0, 11, .. "grpc-status"u8, (byte)status.Length, .. Encoding.ASCII.GetBytes(status)]);

    public static byte[] Answer(int stream) => [.. Headers(stream), .. Reply(stream), .. Trailers(stream)];

    private async Task RunAsync(Func<Link, int, Task> serve)
    {
        var all = new List<Task>();
        for (var number = 0; !_stop.IsCancellationRequested; number++)
        {
            var socket = await _listener.AcceptSocketAsync(_stop.Token);
            all.Add(ServeAsync(socket, number));
        }

        async Task ServeAsync(Socket socket, int number)
        {
            await using var stream = new NetworkStream(socket, ownsSocket: true);
            await serve(new Link(stream, _stop.Token), number);
        }
    }

    internal sealed class Link(NetworkStream stream, CancellationToken stop)
    {
        private bool _isIntroduced;

        /// <summary>What the client opened its connection with is read, and settings are sent.</summary>
        public async Task IntroduceAsync(params byte[] settings)
        {
            var preface = new byte[24];
            await stream.ReadExactlyAsync(preface, stop);
            Assert.Equal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Encoding.ASCII.GetString(preface));
            _isIntroduced = true;
            await SendAsync(Frame(FrameType.Settings, 0, 0, settings));
        }

        public async Task SendAsync(params byte[] bytes) => await stream.WriteAsync(bytes, stop);

        public async Task<(FrameHeader Header, byte[] Payload)> ReadAsync()
        {
            var header = new byte[FrameHeader.Bytes];
            await stream.ReadExactlyAsync(header, stop);
            Assert.True(FrameHeader.TryRead(header, out var frame));
            var payload = new byte[frame.Length];
            await stream.ReadExactlyAsync(payload, stop);
            return (frame, payload);
        }

        /// <summary>The next frame of a type.</summary>
        public async Task<(FrameHeader Header, byte[] Payload)> ReadAsync(FrameType type)
        {
            while (true)
            {
                var read = await ReadAsync();
                if (read.Header.Type == type)
                {
                    return read;
                }
            }
        }

        /// <summary>A whole request: its stream.</summary>
        public async Task<int> ReadRequestAsync()
        {
            if (!_isIntroduced)
            {
                await IntroduceAsync();
            }

            while (true)
            {
                var (header, _) = await ReadAsync(FrameType.Data);
                if (header.IsLast)
                {
                    return header.StreamId;
                }
            }
        }

        /// <summary>Says no more, and waits for the client to hang up.</summary>
        public Task HangUpAsync()
        {
            stream.Socket.Shutdown(SocketShutdown.Send);
            return DrainAsync();
        }

        /// <summary>Until the client hangs up.</summary>
        public async Task DrainAsync()
        {
            var buffer = new byte[4096];
            while (await stream.ReadAsync(buffer, stop) > 0)
            {
            }
        }
    }
}
