using System.Buffers;
using System.Text;
using System.Text.Json;

namespace ScriptedServe.Host.OpenAi;

/// <summary>The bytes of an event around the one text that changes from event to event: all events of a choice but its first and last are such.</summary>
internal sealed class EventTemplate
{
    private const int StackBytes = 512;

    private readonly byte[] _event;
    private readonly int _split;

    private EventTemplate(byte[] bytes, int split) => (_event, _split) = (bytes, split);

    /// <summary>Up to the text, the quotation mark before it included.</summary>
    public ReadOnlySpan<byte> Before => _event.AsSpan(0, _split);

    /// <summary>From the quotation mark after the text to the end of the event.</summary>
    public ReadOnlySpan<byte> After => _event.AsSpan(_split);

    /// <param name="field">The field of the text, which is to be the first of this name with an empty string.</param>
    /// <param name="write">Writes the event's JSON, with an empty text.</param>
    public static EventTemplate Of(string field, Action<Utf8JsonWriter> write)
    {
        var bytes = new ArrayBufferWriter<byte>(512);
        bytes.Write("data: "u8);
        using (var json = new Utf8JsonWriter(bytes, SseWriter.Json))
        {
            write(json);
        }

        bytes.Write("\n\n"u8);

        // Within a string there is no bare quotation mark, so this is found nowhere but at the field.
        var empty = Encoding.UTF8.GetBytes($"\"{field}\":\"\"");
        var start = bytes.WrittenSpan.IndexOf(empty);
        return start >= 0
            ? new EventTemplate(bytes.WrittenSpan.ToArray(), start + empty.Length - 1)
            : throw new InvalidOperationException($"the event has no empty \"{field}\"");
    }

    /// <summary>Writes a text as between quotation marks in JSON, the same bytes as <see cref="Utf8JsonWriter"/>, and returns their number.</summary>
    /// <param name="json">Six bytes for each character at least.</param>
    public static int Escape(string text, Span<byte> json)
    {
        char[]? rented = null;
        var characters = text.Length <= StackBytes / 6 ? stackalloc char[StackBytes] : rented = ArrayPool<char>.Shared.Rent(6 * text.Length);
        SseWriter.Json.Encoder!.Encode(text, characters, out _, out var count);
        var bytes = Encoding.UTF8.GetBytes(characters[..count], json);
        if (rented is not null)
        {
            ArrayPool<char>.Shared.Return(rented);
        }

        return bytes;
    }
}
