namespace ScriptedServe.KvTransport;

/// <summary>The memory of a pool on a device, as other processes of the machine open it.</summary>
/// <param name="Device">The driver's id of the device, the same in all processes.</param>
/// <param name="Handle">What the driver opens the memory by.</param>
/// <param name="Offset">Where in that memory the pool begins.</param>
public sealed record DeviceExport(Guid Device, ReadOnlyMemory<byte> Handle, long Offset);

/// <summary>The pages of another process's pool on a device, open in this process: <c>[layer][page]</c>. Disposing closes them; the copies are disposed of before.</summary>
public abstract class PeerPages : IDisposable
{
    /// <summary>A line of copies beside whatever the device computes.</summary>
    public abstract PageCopies NewCopies();

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected abstract void Dispose(bool disposing);
}

/// <summary>Copies from the pages of a pool on a device to those of a <see cref="PeerPages"/>. One caller at a time.</summary>
public abstract class PageCopies : IDisposable
{
    /// <summary>What was launched so far has written the layer: <see cref="AwaitLayer"/> would not wait.</summary>
    public abstract bool HasLayer(int layer);

    /// <summary>Waits until what was launched so far has written the layer.</summary>
    public abstract void AwaitLayer(int layer);

    /// <summary>Begins to copy bytes of a page, and of as many after it as they reach into, to the same bytes of the peer's page, and of those after that. The caller has checked that they are there.</summary>
    public abstract void Copy(int layer, int page, int peerPage, long offset, long bytes);

    /// <summary>Waits until all copies have been made, or can never be.</summary>
    public abstract void Wait();

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected abstract void Dispose(bool disposing);
}
