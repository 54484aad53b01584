using System.Security.Cryptography;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.MessagePack;
using ScriptedServe.KvTransport.Tests.Support;

namespace ScriptedServe.KvTransport.Tests;

public class AddressTests
{
    private static readonly KvAddressCodec Codec = new(Rig.Secret);

    [Fact]
    public void An_address_comes_back_as_it_was_and_is_compact()
    {
        var bytes = Codec.Encode(Sample());
        var back = Codec.Decode(bytes);
        Assert.Equal(Sample() with { Pages = back.Pages }, back);
        Assert.Equal(Sample().Pages, back.Pages);
        back.CheckAgainst(Pools.Small);
        var run = Codec.Encode(Sample() with { Pages = Waiting.Range(100_000), End = 800_000 });
        Assert.True(run.Length < bytes.Length + 10, $"{run.Length} bytes for one run of pages");
    }

    [Fact]
    public void Pages_too_scattered_for_an_address_are_told_as_such()
    {
        int[] everySecond = [.. Waiting.Range(200_000).Select(page => 2 * page)];
        var fault = Assert.Throws<KvTransportException>(() => Codec.Encode(Sample() with { Pages = everySecond, End = 1_600_000 }));
        Assert.Equal(KvFault.Scattered, fault.Fault);
        Assert.Contains("scattered", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_byte_changed_anywhere_is_a_forgery()
    {
        var bytes = Codec.Encode(Sample());
        for (var at = 0; at < bytes.Length; at++)
        {
            var changed = (byte[])bytes.Clone();
            changed[at] ^= (byte)(1 << (at % 8));
            Assert.Equal(KvFault.Forged, Assert.Throws<KvAddressException>(() => Codec.Decode(changed)).Fault);
            if (at > 32)
            {
                Assert.Equal(KvFault.Forged, Assert.Throws<KvAddressException>(() => Codec.Decode(bytes.AsSpan(0, at))).Fault);
            }
        }

        Assert.Equal(KvFault.Forged, Assert.Throws<KvAddressException>(() => new KvAddressCodec("another secret of a cluster"u8).Decode(bytes)).Fault);
        Assert.Equal(KvFault.Malformed, Assert.Throws<KvAddressException>(() => Codec.Decode(bytes.AsSpan(0, 32))).Fault);
        Assert.Equal(KvFault.Malformed, Assert.Throws<KvAddressException>(() => Codec.Decode(new byte[KvAddressCodec.MaxBytes + 1])).Fault);
        Assert.Throws<ArgumentException>(() => new KvAddressCodec("short"u8));
    }

    [Fact]
    public void A_right_code_over_wrong_contents_is_still_refused()
    {
        var good = Codec.Encode(Sample())[..^32];
        var random = new Random(3);
        var refused = 0;
        for (var round = 0; round < 20_000; round++)
        {
            var body = (byte[])good.Clone();
            body[random.Next(body.Length)] = (byte)random.Next(256);
            try
            {
                var address = Codec.Decode(Signed(body));
                Assert.True(address.Begin >= 0 && address.End - address.Begin <= KvAddressCodec.MaxTokens && address.Pages.Length <= address.End - address.Begin && address.Pages.All(page => page >= 0));
            }
            catch (KvAddressException fault)
            {
                Assert.Contains(fault.Fault, new[] { KvFault.Malformed, KvFault.UnsupportedVersion });
                refused++;
            }
        }

        Assert.True(refused > 1000);
        Assert.Equal(KvFault.Malformed, Assert.Throws<KvAddressException>(() => Codec.Decode(Signed([.. good, 0xc0]))).Fault);
    }

    [Fact]
    public void A_run_of_more_pages_than_the_range_has_tokens_is_refused_before_it_is_expanded()
    {
        var writer = new MessagePackWriter();
        writer.WriteArrayHeader(11);
        writer.Write(1);
        writer.Write("e");
        writer.Write(1);
        writer.Write("r");
        writer.Write(0);
        writer.Write(1);
        writer.WriteBinary(new byte[16]);
        writer.Write(0);
        writer.Write(64);
        writer.WriteArrayHeader(2);
        writer.Write(0);
        writer.Write(int.MaxValue);
        writer.WriteMapHeader(0);
        var fault = Assert.Throws<KvAddressException>(() => Codec.Decode(Signed(writer.Written.ToArray())));
        Assert.Contains("a run of 2147483647 pages", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Transports_of_later_versions_are_passed_over()
    {
        var body = Codec.Encode(Sample() with { Shm = null, Tcp = null })[..^32];
        Assert.Equal(0x80, body[^1]);
        var writer = new MessagePackWriter();
        writer.WriteMapHeader(1);
        writer.Write("cuda-ipc");
        writer.WriteMapHeader(1);
        writer.Write("handle");
        writer.WriteArrayHeader(2);
        writer.WriteBinary([1, 2, 3]);
        writer.WriteNil();
        var address = Codec.Decode(Signed([.. body[..^1], .. writer.Written]));
        Assert.Null(address.Shm);
        Assert.Null(address.Tcp);
    }

    internal static KvAddress Sample() => new("engine-0", ulong.MaxValue - 1, "r-1", 3, 9, Pools.Small.Fingerprint, 5, 37, [4, 5, 6, 1, 9],
        new ShmRoute("/proc/1/fd/9", Guid.Parse("00112233-4455-6677-8899-aabbccddeeff"), "/run/kv.sock"), new TcpRoute("10.0.0.1", 9000));

    private static byte[] Signed(byte[] body) => [.. body, .. HMACSHA256.HashData(HMACSHA256.HashData(Rig.Secret, "ScriptedServe KV address"u8), body)];
}
