using System.Text;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Client.Http2;
using static ScriptedServe.Contracts.Tests.Wire.RawServer;
using static ScriptedServe.Contracts.Tests.Wire.WireTesting;

namespace ScriptedServe.Contracts.Tests.Wire;

/// <summary>What the client makes of the frames that servers may send, and what it sends them.</summary>
public class Http2ClientTests
{
    private static readonly CancellationToken s_none = CancellationToken.None;

    [Fact]
    public async Task A_reply_may_come_in_any_pieces()
    {
        // Byte by byte, with padding, priorities, unknown frames, informational headers, and headers in parts.
        byte[] block = [0x88, 0x0f, 0x10, 16, .. "application/grpc"u8];
        await using var server = new RawServer(async (link, _) =>
        {
            var stream = await link.ReadRequestAsync();
            var reply = MessageFrames.Of(new EngineStatus { EngineId = "raw" });
            byte[] all =
            [
                .. Frame((FrameType)99, 255, stream, 1, 2, 3),
                .. Frame(FrameType.Headers, 4, stream, 0x08, 3, (byte)'1', (byte)'0', (byte)'3'),
                .. Frame(FrameType.Headers, 8 | 32, stream, [2, 0, 0, 0, 0, 9, .. block[..3], 0, 0]),
                .. Frame(FrameType.Continuation, 0, stream, block[3..7]),
                .. Frame(FrameType.Continuation, 4, stream, block[7..]),
                .. Frame(FrameType.Priority, 0, stream, 0, 0, 0, 0, 9),
                .. Frame(FrameType.Data, 8, stream, [3, .. reply[..4], 0, 0, 0]),
                .. Frame(FrameType.Data, 0, stream),
                .. Frame(FrameType.Data, 0, stream, reply[4..]),
                .. Trailers(stream),
            ];
            foreach (var piece in all)
            {
                await link.SendAsync(piece);
            }

            await link.DrainAsync();
        });
        using var client = Call(server.Address);
        Assert.Equal("raw", (await client.GetStatusAsync(new(), s_none).Within()).EngineId);
    }

    [Fact]
    public async Task Requests_wait_for_the_windows_of_the_server()
    {
        var request = new PrepRecvRequest { RequestId = new string('x', 100_000), TokenIds = { 1, 2, 3 } };
        var received = new List<byte>();
        await using var server = new RawServer(async (link, _) =>
        {
            // A stream takes 10 bytes at first; its frames are small whatever the window.
            await link.IntroduceAsync(0, 4, 0, 0, 0, 10);
            var sent = 0;
            while (true)
            {
                var (header, payload) = await link.ReadAsync(FrameType.Data);
                received.AddRange(payload);
                Assert.InRange(payload.Length, 1, sent == 0 ? 10 : FrameReader.MaxFrameBytes);
                if (header.IsLast)
                {
                    await link.SendAsync([.. Headers(header.StreamId), .. Frame(FrameType.Data, 0, header.StreamId, MessageFrames.Of(new PrepRecvReply { MatchedTokens = 7 })), .. Trailers(header.StreamId)]);
                    await link.DrainAsync();
                }

                // The stream's window, then the connection's: both bind. Then less for all streams, which makes it negative.
                sent++;
                await link.SendAsync(Frame(FrameType.WindowUpdate, 0, header.StreamId, 0, 0, 0x40, 0));
                await link.SendAsync(Frame(FrameType.WindowUpdate, 0, 0, 0, 0, 0x40, 0));
                await link.SendAsync(Frame(FrameType.Settings, 0, 0, 0, 4, 0, 0, 0, (byte)(sent % 2 == 0 ? 0 : 200)));
            }
        });
        using var client = Call(server.Address);
        Assert.Equal(7, (await client.PrepRecvAsync(request, s_none).Within()).MatchedTokens);
        Assert.Equal(MessageFrames.Of(request), received);
    }

    [Theory]
    [InlineData("refused")]
    [InlineData("gone")]
    public async Task A_call_that_the_server_has_not_begun_with_is_made_again(string how)
    {
        var connections = 0;
        await using var server = new RawServer(async (link, number) =>
        {
            Interlocked.Increment(ref connections);
            var stream = await link.ReadRequestAsync();
            if (how == "refused" && stream == 1)
            {
                await link.SendAsync(Frame(FrameType.ResetStream, 0, stream, 0, 0, 0, 7));
                stream = await link.ReadRequestAsync();
            }
            else if (number == 0)
            {
                await link.SendAsync(Frame(FrameType.GoAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
                await link.DrainAsync();
                return;
            }

            await link.SendAsync(Answer(stream));
            await link.DrainAsync();
        });
        using var client = Call(server.Address);
        Assert.Equal("raw", (await client.GetStatusAsync(new(), s_none).Within()).EngineId);
        Assert.Equal(how == "gone" ? 2 : 1, connections);
    }

    [Fact]
    public async Task A_call_under_way_ends_on_a_connection_that_takes_no_more_and_the_next_goes_elsewhere()
    {
        var finish = new TaskCompletionSource();
        await using var server = new RawServer(async (link, number) =>
        {
            var stream = await link.ReadRequestAsync();
            if (number == 0)
            {
                await link.SendAsync([.. Headers(stream), .. Reply(stream, "first"), .. Frame(FrameType.GoAway, 0, 0, 0, 0, 0, (byte)stream, 0, 0, 0, 0)]);
                await finish.Task;
                await link.SendAsync(Trailers(stream));
                await link.DrainAsync();
                return;
            }

            await link.SendAsync(Answer(stream));
            await link.DrainAsync();
        });
        using var client = Call(server.Address);
        await using var watching = client.WatchStatusAsync(new(), s_none).GetAsyncEnumerator();
        Assert.True(await watching.MoveNextAsync().AsTask().Within());
        Assert.Equal("first", watching.Current.EngineId);
        var ending = watching.MoveNextAsync().AsTask();
        Assert.Equal("raw", (await client.GetStatusAsync(new(), s_none).Within()).EngineId);
        Assert.False(ending.IsCompleted);
        finish.SetResult();
        Assert.False(await ending.Within());
    }

    [Fact]
    public async Task A_server_that_says_nothing_at_first_is_given_up_after_the_connect_timeout()
    {
        var clock = new FakeTimeProvider();
        var accepted = new TaskCompletionSource();
        await using var server = new RawServer((link, _) =>
        {
            accepted.TrySetResult();
            return link.DrainAsync();
        });
        using var client = Call(server.Address, new() { ConnectTimeout = TimeSpan.FromSeconds(5), Clock = clock });
        var call = client.GetStatusAsync(new(), s_none);
        await accepted.Task.Within();
        clock.Advance(TimeSpan.FromSeconds(5));
        var failure = await FailsAsync(call);
        Assert.Equal(RpcStatus.Unavailable, failure.Status);
        Assert.Contains("no connection within 5 s", failure.Message);
    }

    [Fact]
    public async Task Pings_are_answered_and_a_server_that_answers_ours_is_kept()
    {
        var clock = new FakeTimeProvider();
        var asked = new TaskCompletionSource();
        var answer = new TaskCompletionSource();
        await using var server = new RawServer(async (link, _) =>
        {
            var stream = await link.ReadRequestAsync();
            await link.SendAsync(Frame(FrameType.Ping, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8));
            var (header, payload) = await link.ReadAsync(FrameType.Ping);
            Assert.True(header.IsAnswer);
            Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8], payload);
            asked.SetResult();
            for (var i = 0; i < 3; i++)
            {
                (header, payload) = await link.ReadAsync(FrameType.Ping);
                Assert.False(header.IsAnswer);
                await link.SendAsync(Frame(FrameType.Ping, 1, 0, payload));
            }

            await link.SendAsync(Answer(stream));
            await link.DrainAsync();
        });
        using var client = Call(server.Address, new() { PingDelay = TimeSpan.FromSeconds(10), PingTimeout = TimeSpan.FromHours(1), Clock = clock });
        var call = client.GetStatusAsync(new(), s_none);
        await asked.Task.Within();
        while (!call.IsCompleted)
        {
            // A step at a time, so that answers come in between; each ping but the first is sent only once the one before was answered.
            clock.Advance(TimeSpan.FromSeconds(2.5));
            await Task.WhenAny(call, Task.Delay(TimeSpan.FromMilliseconds(30), TimeProvider.System));
        }

        Assert.Equal("raw", (await call).EngineId);
    }

    [Fact]
    public async Task A_server_that_sends_more_than_a_paused_reader_lets_it_loses_its_connection()
    {
        var noticed = new TaskCompletionSource();
        await using var server = new RawServer(async (link, _) =>
        {
            var stream = await link.ReadRequestAsync();
            await link.SendAsync([.. Headers(stream), .. Reply(stream)]);
            await link.ReadAsync(FrameType.Ping);
            await link.SendAsync([0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0x10, 0, 0, .. Enumerable.Repeat(Frame(FrameType.Data, 0, stream, new byte[16384]), 5).SelectMany(frame => frame)]);
            var (_, payload) = await link.ReadAsync(FrameType.GoAway);
            Assert.Equal((byte)Http2Error.FlowControl, payload[7]);
            noticed.SetResult();
            await link.DrainAsync();
        });
        var clock = new FakeTimeProvider();
        using var client = Call(server.Address, new() { PingDelay = TimeSpan.FromSeconds(1), PingTimeout = TimeSpan.FromSeconds(1), Clock = clock });
        await using var watching = client.WatchStatusAsync(new(), s_none).GetAsyncEnumerator();
        Assert.True(await watching.MoveNextAsync().AsTask().Within());

        // From here on the reader pauses; the ping says so.
        clock.Advance(TimeSpan.FromSeconds(1));
        await noticed.Task.Within();
        var failure = await FailsAsync(watching.MoveNextAsync().AsTask());
        Assert.Contains("65535 bytes it may", failure.Message);
    }

    public static TheoryData<string, byte[], RpcStatus, string> Broken => new()
    {
        { "a web server", "HTTP/1.1 400 Bad Request\r\n\r\n"u8.ToArray(), RpcStatus.Unavailable, "does not speak HTTP/2" },
        { "no settings", Frame(FrameType.Ping, 0, 0, new byte[8]), RpcStatus.Unavailable, "does not speak HTTP/2" },
        { "a huge frame", [.. Hello, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], RpcStatus.Unavailable, "a frame of 16777215 bytes; the limit is 16384" },
        { "a push", [.. Hello, .. Frame(FrameType.PushPromise, 4, 1, new byte[8])], RpcStatus.Unavailable, "a push" },
        { "a body before its headers", [.. Hello, .. Reply(1)], RpcStatus.Unavailable, "a body before its headers" },
        { "headers twice", [.. Hello, .. Headers(1), .. Headers(1)], RpcStatus.Unavailable, "headers in the middle" },
        { "headers without an end", [.. Hello, .. Frame(FrameType.Headers, 0, 1, 0x88), .. Frame(FrameType.Ping, 0, 0, new byte[8])], RpcStatus.Unavailable, "between the parts of its headers" },
        { "a continuation of nothing", [.. Hello, .. Frame(FrameType.Continuation, 4, 1, 0x88)], RpcStatus.Unavailable, "a continuation of nothing" },
        { "endless headers", [.. Hello, .. Frame(FrameType.Headers, 0, 1), .. Enumerable.Repeat(Frame(FrameType.Continuation, 0, 1, new byte[16384]), 5).SelectMany(frame => frame)], RpcStatus.Unavailable, "more than 65536 bytes" },
        { "a header bomb", [.. Hello, .. Frame(FrameType.Headers, 4, 1, [0x40, 1, (byte)'a', 0x7f, 0xa1, 0x1e, .. new byte[4000], .. Enumerable.Repeat((byte)0xbe, 100)])], RpcStatus.Unavailable, "more than 65536 bytes" },
        { "a header that is not there", [.. Hello, .. Frame(FrameType.Headers, 4, 1, 0xff, 0x00)], RpcStatus.Unavailable, "there is no header 127" },
        { "half a header", [.. Hello, .. Frame(FrameType.Headers, 4, 1, 0x00, 5, (byte)'a')], RpcStatus.Unavailable, "in the middle of a header" },
        { "a number without an end", [.. Hello, .. Frame(FrameType.Headers, 4, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)], RpcStatus.Unavailable, "a number" },
        { "no Huffman code", [.. Hello, .. Frame(FrameType.Headers, 4, 1, 0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0)], RpcStatus.Unavailable, "Huffman" },
        { "a window too far", [.. Hello, .. Frame(FrameType.WindowUpdate, 0, 0, 0x7f, 0xff, 0xff, 0xff)], RpcStatus.Unavailable, "beyond 2 GiB" },
        { "a short ping", [.. Hello, .. Frame(FrameType.Ping, 0, 0, 1)], RpcStatus.Unavailable, "too short" },
        { "padding beyond the frame", [.. Hello, .. Headers(1), .. Frame(FrameType.Data, 8, 1, 200, 1, 2)], RpcStatus.Unavailable, "too short" },
        { "a hang-up", [.. Hello, .. Headers(1), .. Reply(1)], RpcStatus.Unavailable, "closed the connection" },
        { "a farewell with words", [.. Hello, .. Frame(FrameType.GoAway, 0, 0, [0, 0, 0, 1, 0, 0, 0, 11, .. "calm down"u8])], RpcStatus.Unavailable, "closed the connection" },
        { "an end without trailers", [.. Hello, .. Headers(1), .. Frame(FrameType.Data, 1, 1)], RpcStatus.Internal, "without a gRPC status" },
        { "an end in the middle of a message", [.. Hello, .. Headers(1), .. Frame(FrameType.Data, 0, 1, 0, 0, 0, 0, 9, 1), .. Trailers(1)], RpcStatus.Internal, "in the middle of a message: 6 bytes" },
    };

    private static byte[] Hello => Frame(FrameType.Settings, 0, 0);

    [Theory]
    [MemberData(nameof(Broken))]
    public async Task A_server_that_breaks_the_protocol_is_told_what_it_broke(string what, byte[] bytes, RpcStatus status, string words)
    {
        await using var server = new RawServer(async (link, _) =>
        {
            if (bytes.AsSpan().StartsWith(Hello))
            {
                await link.ReadRequestAsync();
                bytes = bytes[Hello.Length..];
            }

            await link.SendAsync(bytes);
            await link.HangUpAsync();
        });
        using var client = Call(server.Address);
        var failure = await FailsAsync(client.GetStatusAsync(new(), s_none));
        Assert.True((status, true) == (failure.Status, failure.Message.Contains(words, StringComparison.Ordinal)), $"{what}: {failure.Status} {failure.Message}");
    }

    [Fact]
    public async Task Whatever_bytes_come_every_call_ends()
    {
        var random = new Random(11);
        for (var round = 0; round < 200; round++)
        {
            var bytes = (byte[])[.. Hello, .. Answer(1), .. Frame(FrameType.Ping, 0, 0, new byte[8]), .. Answer(3)];
            for (var change = random.Next(1, 6); change > 0; change--)
            {
                bytes[random.Next(Hello.Length, bytes.Length)] = (byte)random.Next(256);
            }

            await using var server = new RawServer(async (link, _) =>
            {
                await link.IntroduceAsync();
                await link.ReadRequestAsync();
                await link.ReadRequestAsync();
                await link.SendAsync(bytes[Hello.Length..]);
            });
            using var client = Call(server.Address);
            await Task.WhenAll(EndsAsync(), EndsAsync()).Within();

            async Task EndsAsync()
            {
                try
                {
                    await client.GetStatusAsync(new(), s_none);
                }
                catch (RpcException)
                {
                }
            }
        }
    }

    [Fact]
    public void Header_blocks_decode_as_the_protocol_s_examples_do()
    {
        // RFC 7541, appendix C.6: three responses of one connection, Huffman-coded, with a table of 256 bytes that entries are evicted from.
        var decoder = new HeaderDecoder();
        (string Block, string Headers)[] examples =
        [
            ("3fe101 488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
                ":status=302 cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT location=https://www.example.com"),
            ("4883640effc1c0bf", ":status=307 cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT location=https://www.example.com"),
            ("88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                ":status=200 cache-control=private date=Mon, 21 Oct 2013 20:13:22 GMT location=https://www.example.com content-encoding=gzip set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
        ];
        foreach (var (block, headers) in examples)
        {
            var read = new Listed();
            decoder.Decode(Convert.FromHexString(block.Replace(" ", "", StringComparison.Ordinal)), read);
            Assert.Equal(headers, read.ToString());
        }
    }

    private sealed class Listed : IHeaderSink
    {
        private readonly StringBuilder _text = new();

        public void Add(string name, string value) => _text.Append(_text.Length > 0 ? " " : "").Append(name).Append('=').Append(value);

        public override string ToString() => _text.ToString();
    }
}
