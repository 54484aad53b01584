using System.IO.Pipelines;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Writes server-sent events of JSON straight into the response's pooled buffers. Not thread-safe.</summary>
internal sealed class SseWriter(PipeWriter body) : IDisposable
{
    /// <summary>Text is sent as UTF-8 as it is; the reply is never part of an HTML page.</summary>
    public static readonly JsonWriterOptions Json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    private readonly Utf8JsonWriter _json = new(body, Json);

    public long UnflushedBytes { get; private set; }

    /// <summary>Begins an event; its JSON goes into the returned writer, then <see cref="EndEvent"/>.</summary>
    public Utf8JsonWriter BeginEvent()
    {
        Write("data: "u8);
        _json.Reset(body);
        return _json;
    }

    public void EndEvent()
    {
        _json.Flush();
        UnflushedBytes += _json.BytesCommitted;
        Write("\n\n"u8);
    }

    public void Done() => Write("data: [DONE]\n\n"u8);

    public async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        if (UnflushedBytes > 0)
        {
            UnflushedBytes = 0;
            await body.FlushAsync(cancellationToken);
        }
    }

    public void Dispose() => _json.Dispose();

    private void Write(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(body.GetSpan(bytes.Length));
        body.Advance(bytes.Length);
        UnflushedBytes += bytes.Length;
    }
}
