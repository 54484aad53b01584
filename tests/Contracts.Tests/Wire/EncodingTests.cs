using System.Buffers;
using System.IO.Pipelines;
using FsCheck;
using FsCheck.Fluent;
using Google.Protobuf;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Client;

namespace ScriptedServe.Contracts.Tests.Wire;

public class EncodingTests
{
    [Fact]
    public void Any_message_survives_the_encoding_of_a_status_and_stays_printable_ASCII() =>
        Prop.ForAll(ArbMap.Default.ArbFor<string>(), text =>
        {
            text = new string([.. (text ?? "").Where(c => !char.IsSurrogate(c)).Take(400)]) + "%41 ✓ 😀";
            var encoded = StatusMessage.Encode(text);
            return encoded.All(c => c is >= ' ' and <= '~') && StatusMessage.Decode(encoded) == text;
        }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData("100%", "100%")]
    [InlineData("%zz%4", "%zz%4")]
    [InlineData("%FF", "\uFFFD")]
    [InlineData("ü", "ü")]
    public void A_broken_status_message_is_shown_as_well_as_it_can_be(string encoded, string shown) => Assert.Equal(shown, StatusMessage.Decode(encoded));

    [Fact]
    public void A_status_message_is_cut_between_characters_where_a_header_block_ends()
    {
        var encoded = StatusMessage.Encode(new string('x', StatusMessage.LargestEncodedBytes - 1) + "✓✓");

        Assert.Equal(StatusMessage.LargestEncodedBytes - 1, encoded.Length);
        Assert.DoesNotContain('%', encoded);
    }

    [Theory]
    [InlineData("1H", 3600)]
    [InlineData("2M", 120)]
    [InlineData("00000003S", 3)]
    [InlineData("4000m", 4)]
    [InlineData("5000000u", 5)]
    [InlineData("60000000n", 0.06)]
    [InlineData("0n", 0)]
    public void A_timeout_has_digits_and_a_unit(string text, double seconds)
    {
        Assert.True(RpcTimeout.TryParse(text, out var timeout));
        Assert.Equal(seconds, timeout.TotalSeconds, 9);
    }

    [Theory]
    [InlineData("")]
    [InlineData("5")]
    [InlineData("S")]
    [InlineData("-1S")]
    [InlineData("+1S")]
    [InlineData("1.5S")]
    [InlineData("123456789m")]
    [InlineData("1s")]
    [InlineData("1 S")]
    public void What_is_no_timeout_is_told_apart(string text) => Assert.False(RpcTimeout.TryParse(text, out _));

    [Fact]
    public void A_formatted_timeout_is_never_shorter_and_at_most_a_part_in_a_thousand_longer() =>
        Prop.ForAll(ArbMap.Default.ArbFor<long>(), ticks =>
        {
            var timeout = new TimeSpan(Math.Abs(ticks % TimeSpan.FromDays(20).Ticks));
            return RpcTimeout.TryParse(RpcTimeout.Format(timeout), out var parsed) && parsed >= timeout && parsed - timeout <= (timeout / 1000) + TimeSpan.FromTicks(1);
        }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Messages_are_read_whole_however_their_bytes_are_cut(bool asReply)
    {
        var random = new Random(7);
        for (var round = 0; round < 50; round++)
        {
            var sent = Enumerable.Range(0, random.Next(1, 8)).Select(_ => RandomChunk(random)).ToList();
            var bytes = new ArrayBufferWriter<byte>();
            sent.ForEach(chunk => MessageFrames.Write(bytes, chunk));

            var pipe = new Pipe();
            var received = new List<GenerateChunk>();
            var reading = Task.Run(() => asReply ? ReadReplyAsync(pipe.Reader.AsStream(), received) : ReadAsync(pipe.Reader, received));
            for (var rest = bytes.WrittenMemory; rest.Length > 0;)
            {
                var piece = rest[..Math.Min(rest.Length, random.Next(1, 4000))];
                await pipe.Writer.WriteAsync(piece);
                rest = rest[piece.Length..];
            }

            await pipe.Writer.CompleteAsync();
            await reading.Within();
            Assert.Equal(sent, received);
        }
    }

    [Theory]
    [InlineData("unix:/run/e0.sock", "unix:/run/e0.sock", true)]
    [InlineData("unix:///run/e0.sock", "unix:/run/e0.sock", true)]
    [InlineData("http://127.0.0.1:9000", "http://127.0.0.1:9000", true)]
    [InlineData("http://localhost:9000/", "http://localhost:9000", true)]
    [InlineData("http://[::1]:9000", "http://[::1]:9000", true)]
    [InlineData("http://0.0.0.0:9000", "http://0.0.0.0:9000", false)]
    [InlineData("http://*:9000", "http://*:9000", false)]
    [InlineData("http://engine-0.local:9000", "http://engine-0.local:9000", false)]
    public void An_address_is_a_unix_socket_or_a_host_and_port(string text, string canonical, bool isLocal)
    {
        var address = EngineAddress.Parse(text);
        Assert.Equal((canonical, isLocal), (address.ToString(), address.IsLocal));
    }

    [Theory]
    [InlineData("")]
    [InlineData("unix:")]
    [InlineData("127.0.0.1:9000")]
    [InlineData("https://host:1")]
    [InlineData("http://host:99999")]
    [InlineData("http://host:1/path")]
    [InlineData("http://user@host:1")]
    [InlineData("unix:/a-path-of-more-than-a-hundred-and-seven-bytes/that-no-unix-socket-can-have/because-the-kernel-has-a-fixed-field-for-it")]
    public void What_is_no_address_is_refused_with_a_reason(string text) => Assert.NotEmpty(Assert.Throws<FormatException>(() => EngineAddress.Parse(text)).Message);

    [Fact]
    public void Every_method_of_the_contract_has_its_path()
    {
        var service = MicroservingReflection.Descriptor.Services.Single();
        var paths = typeof(EngineMethods).GetFields().Select(field => (string)field.GetRawConstantValue()!);
        Assert.Equal(service.Methods.Select(method => $"/{service.FullName}/{method.Name}").Order(), paths.Order());
    }

    [Fact]
    public void A_single_token_is_told_from_every_other_chunk()
    {
        var random = new Random(8);
        for (var round = 0; round < 5000; round++)
        {
            var chunk = RandomChunk(random, mostTokens: 3);
            var token = chunk.TokenIds.Count == 1 && chunk.FinishReason == FinishReason.Unspecified ? chunk.TokenIds[0] : (int?)null;
            Assert.Equal(token, SingleToken.TryRead(chunk.ToByteArray(), out var read) ? read : null);

            // What is damaged is left to the parser, or means what the parser says it means.
            var bytes = chunk.ToByteArray();
            if (bytes.Length > 0)
            {
                bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
                Assert.True(!SingleToken.TryRead(bytes, out read) || GenerateChunk.Parser.ParseFrom(bytes).Equals(new GenerateChunk { TokenIds = { read } }));
            }
        }
    }

    private static async Task ReadAsync(PipeReader pipe, List<GenerateChunk> received)
    {
        var reader = new MessageReader<GenerateChunk>(pipe, GenerateChunk.Parser, FrameRules.ForClient(1 << 20));
        while (await reader.ReadAsync(CancellationToken.None) is { } chunk)
        {
            received.Add(chunk);
        }
    }

    private static async Task ReadReplyAsync(Stream body, List<GenerateChunk> received)
    {
        using var reply = new ReplyBuffer(FrameRules.ForClient(1 << 20));
        var piece = new byte[4096];
        while (await body.ReadAsync(piece) is > 0 and var bytes)
        {
            reply.Add(piece.AsSpan(0, bytes));
            Take();
        }

        Assert.Equal(0, reply.Length);

        void Take()
        {
            while (reply.TryPeek(out var message))
            {
                received.Add(GenerateChunk.Parser.ParseFrom(message));
                reply.Skip(message.Length);
            }
        }
    }

    private static GenerateChunk RandomChunk(Random random, int mostTokens = 3000)
    {
        var chunk = new GenerateChunk();
        chunk.TokenIds.AddRange(Enumerable.Range(0, random.Next(0, mostTokens + 1)).Select(_ => random.Next() >> random.Next(31)));
        chunk.FinishReason = random.Next(4) == 0 ? FinishReason.Length : FinishReason.Unspecified;
        return chunk;
    }
}
