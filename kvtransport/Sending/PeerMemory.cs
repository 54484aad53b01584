using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>A receiver's pool as this process writes it by itself. Disposing closes it.</summary>
internal interface IPeerMemory : IDisposable
{
    int Pages { get; }

    GrantTable Grants { get; }

    IPageWriter NewWriter(KvPool local, KvAddress address, int cell, FrameStream control, KvSenderOptions options);
}

/// <summary>A pool in memory of the host that both map.</summary>
internal sealed class SharedPeerMemory(SharedKvPool pool) : IPeerMemory
{
    public int Pages => pool.Pages;

    public GrantTable Grants => pool.Grants;

    public IPageWriter NewWriter(KvPool local, KvAddress address, int cell, FrameStream control, KvSenderOptions options) => new ShmPageWriter(local, pool, address, cell, control, options);

    public void Dispose() => pool.Dispose();
}

/// <summary>A pool on a device, open in this process too.</summary>
internal sealed class DevicePeerMemory : IPeerMemory
{
    private readonly GrantRegion _region;
    private readonly PeerPages _pages;

    /// <exception cref="IOException">The receiver is not there.</exception>
    /// <exception cref="KvTransportException">Unreachable: this process or its device cannot open the memory.</exception>
    public DevicePeerMemory(KvPool local, KvAddress address, DeviceRoute route)
    {
        _region = GrantRegion.Attach(route.TablePath, local.Layout, address.Epoch, route.Nonce);
        try
        {
            _pages = local.OpenPeer(route.Export, _region.Pages);
        }
        catch
        {
            _region.Dispose();
            throw;
        }
    }

    public int Pages => _region.Pages;

    public GrantTable Grants => _region.Grants;

    public IPageWriter NewWriter(KvPool local, KvAddress address, int cell, FrameStream control, KvSenderOptions options) =>
        new DevicePageWriter(local, _pages, _region.Grants, address, cell, control, options);

    public void Dispose()
    {
        // The count goes down when the memory is closed.
        _pages.Dispose();
        _region.Dispose();
    }
}
