using System.Buffers;
using System.Text;
using System.Text.Json;
using ScriptedServe.Host.OpenAi;

namespace ScriptedServe.Host.Tests.OpenAi;

public sealed class EventTemplateTests
{
    [Fact]
    public void A_text_is_written_as_the_JSON_writer_would()
    {
        var random = new Random(31);
        string[] pieces = ["a", "\"", "\\", "\n", "\u0000", "\u001f", "\u007f", "é", "漢", "🙂", "\u2028", "\ud800", "\udc00", "<", "&", "'", "\ufeff", new('x', 300)];
        for (var round = 0; round < 3000; round++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(0, 12)).Select(_ => pieces[random.Next(pieces.Length)]));
            var expected = new ArrayBufferWriter<byte>();
            using (var json = new Utf8JsonWriter(expected, SseWriter.Json))
            {
                json.WriteStringValue(text);
            }

            var bytes = new byte[6 * text.Length];
            var written = EventTemplate.Escape(text, bytes);
            Assert.Equal(Encoding.UTF8.GetString(expected.WrittenSpan), $"\"{Encoding.UTF8.GetString(bytes, 0, written)}\"");
        }
    }

    [Fact]
    public void A_template_is_split_at_its_text_whatever_other_strings_hold()
    {
        var template = EventTemplate.Of("content", json =>
        {
            json.WriteStartObject();
            json.WriteString("id", "\"content\":\"\"");
            json.WriteString("content", "");
            json.WriteEndObject();
        });
        Assert.EndsWith(",\"content\":\"", Encoding.UTF8.GetString(template.Before), StringComparison.Ordinal);
        Assert.Equal("\"}\n\n", Encoding.UTF8.GetString(template.After));
    }
}
