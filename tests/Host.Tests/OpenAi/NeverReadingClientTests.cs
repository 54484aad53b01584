using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.OpenAi;

public sealed class NeverReadingClientTests
{
    private long chunks;

    [Fact]
    public async Task A_client_that_takes_nothing_of_its_stream_loses_its_connection_some_seconds_after_its_time_is_over()
    {
        var timeout = TimeSpan.FromSeconds(30);
        await using var server = await ApiServer.StartAsync(new OpenAiOptions { RequestTimeout = timeout });
        server.Runner.OnRun = (_, cancelled) => Endless(cancelled);
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
        await socket.ConnectAsync(server.Url.Host, server.Url.Port);
        const string Body = """{"model":"org/test","prompt":"a","max_tokens":900,"stream":true}""";
        await socket.SendAsync(Encoding.ASCII.GetBytes(
            $"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {Body.Length}\r\n\r\n{Body}"));
        await StandsStill();

        server.Time.Advance(timeout);
        Assert.Equal(1, server.Runner.Held);
        server.Time.Advance(ResponseDeadline.Grace);

        while (await server.Runner.NextEventAsync() != "disposed")
        {
        }

        Assert.Equal(0, server.Runner.Held);
        await Assert.ThrowsAsync<SocketException>(async () =>
        {
            // What was on its way is read first; then the connection turns out to be reset, not ended.
            var buffer = new byte[1 << 16];
            while (await socket.ReceiveAsync(buffer).WaitAsync(TimeSpan.FromSeconds(30), TimeProvider.System) > 0)
            {
            }
        });
    }

    /// <summary>Buffers on the way are full: no chunk has been asked for during a good while.</summary>
    private async Task StandsStill()
    {
        var (seen, still) = (0L, 0);
        while (seen == 0 || still < 100)
        {
            var now = Interlocked.Read(ref chunks);
            (seen, still) = (now, now == seen ? still + 1 : 0);
            await Task.Delay(TimeSpan.FromMilliseconds(2), TimeProvider.System);
        }
    }

    private async IAsyncEnumerable<Chunk> Endless([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var text = Enumerable.Repeat((int)'x', 8192).ToArray();
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Interlocked.Increment(ref chunks);
            yield return new Chunk { Tokens = text };
            await Task.Yield();
        }
    }
}
