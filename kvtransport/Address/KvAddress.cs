namespace ScriptedServe.KvTransport.Address;

/// <summary>The receiver's pool as a process of the same machine finds it.</summary>
/// <param name="Path">A /proc path of the pool's file.</param>
/// <param name="Nonce">The pool's own; what the path leads to must have it.</param>
/// <param name="ControlPath">The unix socket of the receiver's endpoint.</param>
internal sealed record ShmRoute(string Path, Guid Nonce, string ControlPath);

/// <summary>The receiver's pool on a device as a process of the same machine opens it.</summary>
/// <param name="TablePath">A /proc path of the file that has the grant table.</param>
/// <param name="Nonce">That file's own; what the path leads to must have it.</param>
/// <param name="ControlPath">The unix socket of the receiver's endpoint.</param>
internal sealed record DeviceRoute(string TablePath, Guid Nonce, string ControlPath, DeviceExport Export);

/// <summary>The receiver's endpoint as other machines reach it.</summary>
internal sealed record TcpRoute(string Host, int Port);

/// <summary>What a KV address says: which pages of which engine a range of a prompt's KV is to be written to, and how to reach them.</summary>
/// <param name="Slot">The grant's place in the receiver's grant table.</param>
/// <param name="Generation">Which of the slot's grants; an address of an earlier one is void.</param>
/// <param name="Begin">Token positions [begin, end) of the prompt.</param>
/// <param name="Pages">Page i holds positions from (begin / pageTokens + i) * pageTokens on.</param>
internal sealed record KvAddress(
    string EngineId,
    ulong Epoch,
    string ReservationId,
    int Slot,
    ulong Generation,
    string Fingerprint,
    int Begin,
    int End,
    int[] Pages,
    ShmRoute? Shm,
    TcpRoute? Tcp,
    DeviceRoute? Device = null)
{
    /// <exception cref="KvAddressException">The KV is laid out otherwise, or the pages do not fit the range.</exception>
    public void CheckAgainst(KvLayout layout)
    {
        if (Fingerprint != layout.Fingerprint)
        {
            throw new KvAddressException(KvFault.WrongLayout,
                $"Engine {EngineId} holds KV of layout {Fingerprint}; this engine's is {layout.Fingerprint} ({layout}). Both must serve the same model with the same --page-tokens and --kv-dtype.");
        }

        var expected = Memory.PageSlice.PagesOf(layout, Begin, End);
        if (Pages.Length != expected)
        {
            throw new KvAddressException(KvFault.Malformed, $"The KV address of {ReservationId} has {Pages.Length} pages for tokens [{Begin}, {End}); {expected} are needed.");
        }
    }
}
