using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.MessagePack;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.KvTransport.Tests;

public class MessagePackTests
{
    /// <summary>Says what each value is in a notation of the test's own, and packs it again.</summary>
    private const string Python = """
        import msgpack, struct, sys
        def say(v):
            if v is None: return 'n'
            if v is True: return 't'
            if v is False: return 'f'
            if isinstance(v, int): return 'i%d' % v
            if isinstance(v, float): return 'd' + struct.pack('>d', v).hex()
            if isinstance(v, str): return 's' + v.encode().hex()
            if isinstance(v, msgpack.ExtType): return 'e%d:%s' % (v.code, v.data.hex())
            if isinstance(v, bytes): return 'b' + v.hex()
            if isinstance(v, list): return '[' + ','.join(map(say, v)) + ']'
            return '{' + ','.join(say(a) + '=' + say(b) for a, b in v) + '}'
        def again(v):
            if isinstance(v, list): return [again(x) for x in v]
            if type(v) is tuple: return dict((a, again(b)) for a, b in v)
            return v
        for line in sys.stdin:
            data = bytes.fromhex(line)
            pairs = msgpack.unpackb(data, strict_map_key=False, object_pairs_hook=tuple)
            print(say(pairs), msgpack.packb(again(pairs)).hex())
        """;

    [RequiresFact(Need.PythonMsgpack)]
    public void What_is_written_python_reads_and_what_python_writes_is_read()
    {
        var random = new Random(1);
        var cases = Enumerable.Range(0, 400).Select(_ => Value(random, depth: 4)).Concat(Edges()).ToArray();
        var answers = Ask(Python, cases.Select(each => Convert.ToHexStringLower(each.Bytes)));
        Assert.Equal(cases.Length, answers.Length);
        for (var i = 0; i < cases.Length; i++)
        {
            var parts = answers[i].Split(' ');
            Assert.Equal(cases[i].Said, parts[0]);
            // Both write the shortest form, so python's bytes are ours; and they are read as what they are.
            Assert.Equal(Convert.ToHexStringLower(cases[i].Bytes), parts[1]);
            var reader = new MessagePackReader(Convert.FromHexString(parts[1]));
            Assert.Equal(cases[i].Said, Say(ref reader));
            Assert.True(reader.AtEnd);
        }
    }

    [RequiresFact(Need.PythonMsgpack)]
    public void Python_reads_a_kv_address_and_finds_its_code_right()
    {
        var secret = "a secret of the test cluster"u8.ToArray();
        var address = new KvAddressCodec(secret).Encode(AddressTests.Sample());
        var answer = Ask($"""
            import msgpack, hmac, sys
            data = bytes.fromhex(sys.stdin.readline())
            key = hmac.digest(bytes.fromhex('{Convert.ToHexString(secret)}'), b'ScriptedServe KV address', 'sha256')
            assert hmac.digest(key, data[:-32], 'sha256') == data[-32:]
            v = msgpack.unpackb(data[:-32])
            print(len(v), v[0], v[1], v[2], v[3], v[4], v[5], v[6].hex(), v[7], v[8], v[9], sorted(v[10]), v[10]['tcp'])
            """, [Convert.ToHexString(address)]);
        var sample = AddressTests.Sample();
        Assert.Equal($"11 1 {sample.EngineId} {sample.Epoch} {sample.ReservationId} 3 9 {sample.Fingerprint} 5 37 [4, 3, 1, 1, 9, 1] ['shm', 'tcp'] ['10.0.0.1', 9000]", Assert.Single(answer));
    }

    [Fact]
    public void Every_wide_form_of_a_number_is_read()
    {
        Assert.Equal(5UL, new MessagePackReader([0xcf, 0, 0, 0, 0, 0, 0, 0, 5]).ReadUInt64());
        Assert.Equal(5, new MessagePackReader([0xd1, 0, 5]).ReadInt32());
        Assert.Equal(-1, new MessagePackReader([0xd3, 255, 255, 255, 255, 255, 255, 255, 255]).ReadInt64());
        Assert.Equal(1.5, new MessagePackReader([0xca, 0x3f, 0xc0, 0, 0]).ReadDouble());
        Assert.Throws<MessagePackException>(() => new MessagePackReader([0xff]).ReadUInt64());
        Assert.Throws<MessagePackException>(() => new MessagePackReader([0xce, 255, 255, 255, 255]).ReadInt32());
        Assert.Throws<MessagePackException>(() => new MessagePackReader([0xa1, 0xff]).ReadString());
    }

    [Fact]
    public void Damaged_bytes_are_a_typed_error_and_never_an_allocation_of_their_size()
    {
        // The headers of 4 GiB strings, arrays and maps in five bytes.
        foreach (byte code in new byte[] { 0xc6, 0xc9, 0xdb, 0xdd, 0xdf })
        {
            Assert.Throws<MessagePackException>(() => new MessagePackReader([code, 255, 255, 255, 255]).Skip());
        }

        var random = new Random(2);
        for (var round = 0; round < 20_000; round++)
        {
            var bytes = Value(random, depth: 3).Bytes.ToArray();
            for (var flips = random.Next(1, 4); flips > 0; flips--)
            {
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            }

            try
            {
                var reader = new MessagePackReader(bytes.AsSpan(0, random.Next(bytes.Length + 1)));
                reader.Skip();
                Assert.InRange(reader.Consumed, 1, bytes.Length);
            }
            catch (MessagePackException)
            {
                // The one error there is.
            }
        }
    }

    private static IEnumerable<(byte[] Bytes, string Said)> Edges()
    {
        foreach (var value in new long[] { 0, 127, 128, 255, 256, 65535, 65536, uint.MaxValue, uint.MaxValue + 1L, long.MaxValue, -1, -32, -33, -128, -129, -32768, -32769, int.MinValue, int.MinValue - 1L, long.MinValue })
        {
            yield return Written(writer => writer.Write(value), Invariant($"i{value}"));
        }

        yield return Written(writer => writer.Write(ulong.MaxValue), "i18446744073709551615");
        foreach (var length in new[] { 0, 1, 2, 3, 4, 8, 15, 16, 17, 31, 32, 255, 256, 65535, 65536 })
        {
            var bytes = new byte[length];
            yield return Written(writer => writer.WriteBinary(bytes), "b" + Convert.ToHexStringLower(bytes));
            yield return Written(writer => writer.Write(new string('x', length)), "s" + string.Concat(Enumerable.Repeat("78", length)));
            if (length > 0)
            {
                yield return Written(writer => writer.WriteExtension(42, bytes), "e42:" + Convert.ToHexStringLower(bytes));
            }

            yield return Written(
                writer =>
                {
                    writer.WriteArrayHeader(length);
                    for (var i = 0; i < length; i++)
                    {
                        writer.WriteNil();
                    }
                },
                $"[{string.Join(',', Enumerable.Repeat('n', length))}]");
        }
    }

    private static (byte[] Bytes, string Said) Value(Random random, int depth)
    {
        var writer = new MessagePackWriter();
        var said = new StringBuilder();
        Write(random, depth, writer, said);
        return (writer.Written.ToArray(), said.ToString());
    }

    private static void Write(Random random, int depth, MessagePackWriter writer, StringBuilder said)
    {
        var bytes = new byte[random.Next(40)];
        random.NextBytes(bytes);
        switch (random.Next(depth > 0 ? 9 : 7))
        {
            case 0:
                writer.WriteNil();
                said.Append('n');
                break;
            case 1:
                var flag = random.Next(2) == 0;
                writer.Write(flag);
                said.Append(flag ? 't' : 'f');
                break;
            case 2:
                var number = random.NextInt64(long.MinValue, long.MaxValue) >> random.Next(64);
                writer.Write(number);
                said.Append(Invariant($"i{number}"));
                break;
            case 3:
                var real = random.NextDouble() * 1e6;
                writer.Write(real);
                said.Append(Invariant($"d{BitConverter.DoubleToUInt64Bits(real):x16}"));
                break;
            case 4:
                var text = string.Concat(Enumerable.Repeat("aé日😀", random.Next(12)));
                writer.Write(text);
                said.Append('s').Append(Convert.ToHexStringLower(Encoding.UTF8.GetBytes(text)));
                break;
            case 5:
                writer.WriteBinary(bytes);
                said.Append('b').Append(Convert.ToHexStringLower(bytes));
                break;
            case 6:
                writer.WriteExtension(7, [1, .. bytes]);
                said.Append("e7:01").Append(Convert.ToHexStringLower(bytes));
                break;
            case 7:
                var items = random.Next(20);
                writer.WriteArrayHeader(items);
                said.Append('[');
                for (var i = 0; i < items; i++)
                {
                    said.Append(i > 0 ? "," : "");
                    Write(random, depth - 1, writer, said);
                }

                said.Append(']');
                break;
            default:
                var pairs = random.Next(20);
                writer.WriteMapHeader(pairs);
                said.Append('{');
                for (var key = 0; key < pairs; key++)
                {
                    writer.Write(key);
                    said.Append(Invariant($"{(key > 0 ? "," : "")}i{key}="));
                    Write(random, depth - 1, writer, said);
                }

                said.Append('}');
                break;
        }
    }

    private static string Say(ref MessagePackReader reader)
    {
        var said = new StringBuilder();
        switch (reader.Peek())
        {
            case MessagePackKind.Nil:
                reader.ReadNil();
                return "n";
            case MessagePackKind.Boolean:
                return reader.ReadBoolean() ? "t" : "f";
            case MessagePackKind.Integer:
                return reader.IsNegative ? Invariant($"i{reader.ReadInt64()}") : Invariant($"i{reader.ReadUInt64()}");
            case MessagePackKind.Float:
                var bits = new byte[8];
                BinaryPrimitives.WriteDoubleBigEndian(bits, reader.ReadDouble());
                return "d" + Convert.ToHexStringLower(bits);
            case MessagePackKind.String:
                return "s" + Convert.ToHexStringLower(Encoding.UTF8.GetBytes(reader.ReadString()));
            case MessagePackKind.Binary:
                return "b" + Convert.ToHexStringLower(reader.ReadBinary());
            case MessagePackKind.Extension:
                var data = reader.ReadExtension(out var type);
                return Invariant($"e{type}:{Convert.ToHexStringLower(data)}");
            case MessagePackKind.Array:
                var items = reader.ReadArrayHeader();
                for (var i = 0; i < items; i++)
                {
                    said.Append(i > 0 ? "," : "").Append(Say(ref reader));
                }

                return $"[{said}]";
            default:
                var pairs = reader.ReadMapHeader();
                for (var i = 0; i < pairs; i++)
                {
                    said.Append(i > 0 ? "," : "").Append(Say(ref reader)).Append('=').Append(Say(ref reader));
                }

                return $"{{{said}}}";
        }
    }

    private static (byte[] Bytes, string Said) Written(Action<MessagePackWriter> write, string said)
    {
        var writer = new MessagePackWriter();
        write(writer);
        return (writer.Written.ToArray(), said);
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static string[] Ask(string program, IEnumerable<string> lines)
    {
        using var python = Process.Start(new ProcessStartInfo("/usr/bin/python3", ["-c", program]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        var output = python.StandardOutput.ReadToEndAsync();
        var errors = python.StandardError.ReadToEndAsync();
        try
        {
            foreach (var line in lines)
            {
                python.StandardInput.WriteLine(line);
            }

            python.StandardInput.Close();
        }
        catch (IOException)
        {
            // It ended early; its own words, below, say why.
        }

        python.WaitForExit();
        Assert.True(python.ExitCode == 0, errors.Result);
        return output.Result.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }
}
