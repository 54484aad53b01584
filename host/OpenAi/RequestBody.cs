using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Reads the body of a request as one JSON object, whatever its content type says.</summary>
internal static class RequestBody
{
    /// <summary>Of a body after which no thread of the pool is needed: its JSON, prompt and tokens are dealt with in well under a millisecond.</summary>
    private const int MostShortBytes = 4096;

    private static readonly JsonDocumentOptions s_strict = new() { AllowDuplicateProperties = false };

    /// <summary>The caller disposes the document when it no longer needs its elements.</summary>
    /// <exception cref="OpenAiException">Too large, empty, not UTF-8, not JSON or not an object.</exception>
    public static async Task<JsonDocument> ReadAsync(HttpRequest request, int maxBytes, CancellationToken cancellationToken)
    {
        var bytes = await ReadBytesAsync(request, maxBytes, cancellationToken);
        ReadOnlyMemory<byte> body = bytes.AsSpan().StartsWith(Encoding.UTF8.Preamble) ? bytes.AsMemory(3) : bytes;
        if (body.Length == 0)
        {
            throw new OpenAiException(400, "The request body is empty; it must be a JSON object.", code: "empty_body");
        }

        if (!Utf8.IsValid(body.Span))
        {
            throw new OpenAiException(400, $"The request body is not UTF-8: byte {FirstInvalidByte(body.Span)} does not belong to a character.", code: "invalid_utf8");
        }

        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(body, s_strict);
            CheckSurrogates(body.Span);
        }
        catch (JsonException e)
        {
            var place = e.LineNumber is { } line ? $" at line {line + 1}, byte {e.BytePositionInLine}" : "";
            throw new OpenAiException(400, $"The request body is not valid JSON{place}: {e.Message}", code: "invalid_json", inner: e);
        }

        if (document.RootElement.ValueKind != JsonValueKind.Object)
        {
            using (document)
            {
                throw new OpenAiException(400, $"The request body must be a JSON object, got {JsonFields.Show(document.RootElement)}.", code: "invalid_json");
            }
        }

        return document;
    }

    private static async Task<byte[]> ReadBytesAsync(HttpRequest request, int maxBytes, CancellationToken cancellationToken)
    {
        if (request.ContentLength > maxBytes)
        {
            throw TooLarge(maxBytes);
        }

        while (true)
        {
            var result = await request.BodyReader.ReadAsync(cancellationToken);
            if (result.Buffer.Length > maxBytes)
            {
                request.BodyReader.AdvanceTo(result.Buffer.End);
                throw TooLarge(maxBytes);
            }

            if (result.IsCompleted)
            {
                var bytes = result.Buffer.ToArray();
                request.BodyReader.AdvanceTo(result.Buffer.End);

                if (bytes.Length > MostShortBytes)
                {
                    await PoolThread.Take();
                }

                return bytes;
            }

            request.BodyReader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        }
    }

    private static OpenAiException TooLarge(int maxBytes) =>
        new(413, $"The request body is larger than {maxBytes} bytes (OpenAiOptions.MaxBodyBytes).", code: "body_too_large");

    private static int FirstInvalidByte(ReadOnlySpan<byte> utf8)
    {
        var position = 0;
        while (Rune.DecodeFromUtf8(utf8[position..], out _, out var count) == OperationStatus.Done)
        {
            position += count;
        }

        return position;
    }

    /// <summary>JSON can escape half of a surrogate pair; such a string is no text.</summary>
    private static void CheckSurrogates(ReadOnlySpan<byte> utf8)
    {
        if (utf8.IndexOf("\\u"u8) < 0)
        {
            return;
        }

        var reader = new Utf8JsonReader(utf8);
        while (reader.Read())
        {
            if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName && reader.ValueIsEscaped)
            {
                try
                {
                    reader.GetString();
                }
                catch (InvalidOperationException)
                {
                    throw new OpenAiException(400, $"The string that begins at byte {reader.TokenStartIndex} escapes half of a surrogate pair, which is no character.", code: "invalid_json");
                }
            }
        }
    }
}
