using System.IO.Pipelines;
using System.Runtime.CompilerServices;
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

    /// <summary>An event that differs from others of its kind in one text.</summary>
    public void Write(EventTemplate template, string text)
    {
        // Every character may take six bytes as JSON, as in \u0000.
        var before = template.Before;
        var after = template.After;
        var bytes = body.GetSpan(before.Length + (6 * text.Length) + after.Length);
        before.CopyTo(bytes);
        var written = before.Length + EventTemplate.Escape(text, bytes[before.Length..]);
        after.CopyTo(bytes[written..]);
        written += after.Length;
        body.Advance(written);
        UnflushedBytes += written;
    }

    public void Done() => Write("data: [DONE]\n\n"u8);

    public ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        if (UnflushedBytes == 0)
        {
            return ValueTask.CompletedTask;
        }

        UnflushedBytes = 0;
        var flush = body.FlushAsync(cancellationToken);
        if (flush.IsCompletedSuccessfully)
        {
            // Taken, as a pooled source wants it.
            _ = flush.Result;
            return ValueTask.CompletedTask;
        }

        return AwaitAsync(flush);
    }

    public void Dispose() => _json.Dispose();

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private static async ValueTask AwaitAsync(ValueTask<FlushResult> flush) => await flush;

    private void Write(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(body.GetSpan(bytes.Length));
        body.Advance(bytes.Length);
        UnflushedBytes += bytes.Length;
    }
}
