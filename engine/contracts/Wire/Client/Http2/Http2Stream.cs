namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>
/// One stream as its connection sees it. The <c>On...</c> methods are called by the connection's reader, one at a time, and only note what came;
/// <see cref="Tell"/> follows when everything that came together has been noted, and may run whoever waits for it.
/// </summary>
internal abstract class Http2Stream : IThreadPoolWorkItem
{
    /// <summary>Set by the connection, under its lock, as are all properties here.</summary>
    public Http2Connection? Connection { get; set; }

    public int Id { get; set; }

    /// <summary>Bytes of body that the peer takes.</summary>
    public long SendWindow { get; set; }

    /// <summary>Bytes of body that the peer may still send.</summary>
    public long ReceiveWindow { get; set; }

    /// <summary>The part of the request's body that the windows did not let through yet.</summary>
    public ReadOnlyMemory<byte> Unsent { get; set; }

    /// <summary>The response's headers are here: what comes next are its trailers.</summary>
    public bool HasHeaders { get; set; }

    /// <summary>Is among those to be told; the reader's own note.</summary>
    public bool IsToBeTold { get; set; }

    /// <param name="isLast">No body and no trailers follow.</param>
    public abstract void OnHeaders(ResponseHeaders headers, bool isLast);

    /// <param name="data">Valid during the call.</param>
    /// <param name="isLast">No trailers follow.</param>
    public abstract void OnData(ReadOnlySpan<byte> data, bool isLast);

    public abstract void OnTrailers(ResponseHeaders trailers);

    /// <summary>The peer gave the stream up. With <see cref="Http2Error.RefusedStream"/> it had not begun.</summary>
    public abstract void OnReset(Http2Error error);

    /// <summary>The connection is at an end.</summary>
    /// <param name="isUnprocessed">The peer said that it had not begun with this stream.</param>
    public abstract void OnLost(Exception cause, bool isUnprocessed);

    /// <summary>Completes what waits for something that has come. Any thread.</summary>
    public abstract void Tell();

    void IThreadPoolWorkItem.Execute() => Tell();
}
