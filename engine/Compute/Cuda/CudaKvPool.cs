using System.Collections.Concurrent;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>
/// KV pages in the memory of a GPU, zeros at first: <see cref="KvPool.PagePointer"/> gives addresses of the device, which the CPU cannot follow. Transports go by copies beside the computation: from GPU to GPU
/// where the processes can open each other's memory, else through pinned buffers. Dispose before the GPU, and after all staging areas are back.
/// </summary>
internal sealed unsafe class CudaKvPool : KvPool
{
    private readonly IGpu _gpu;
    private readonly IGpuMemory _memory;

    /// <summary>Where the GPU's work has written a layer's pages of a step, and where it has last moved whole pages.</summary>
    private readonly List<IGpuMark> _written = [];
    private readonly IGpuMark? _moved;
    private readonly ConcurrentBag<Staging> _idle = [];
    private readonly Lock _settlingGate = new();
    private IGpuCopies? _settling;

    /// <exception cref="Native.CudaException">The device has not as much memory.</exception>
    public CudaKvPool(IGpu gpu, KvLayout layout, int pages)
        : base(layout, pages)
    {
        (_gpu, _memory) = (gpu, gpu.Allocate(layout.PageBytesAllLayers * pages));
        try
        {
            _moved = gpu.CreateMark();
            for (var layer = 0; layer < layout.Layers; layer++)
            {
                _written.Add(gpu.CreateMark());
            }

            gpu.Clear(_memory);
            gpu.Set(_moved);
        }
        catch
        {
            Dispose(true);
            throw;
        }
    }

    public override bool IsOnDevice => true;

    public override byte* PagePointer(int layer, int page) => (byte*)_memory.Value + Offset(layer, page);

    public override void CopyPage(int from, int to)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)from, (uint)Pages);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)to, (uint)Pages);
        for (var layer = 0; layer < Layout.Layers; layer++)
        {
            _gpu.Copy(_memory, Offset(layer, from), _memory, Offset(layer, to), Layout.PageBytes);
        }

        // Whoever sends the page, or receives the rest of it, comes after.
        _gpu.Set(_moved!);
    }

    /// <summary>The work given to the GPU so far has a step's KV of the layer: staging that loads it waits for that, and for nothing after it.</summary>
    public void LayerWritten(int layer) => _gpu.Set(_written[layer]);

    public override PageStaging RentStaging() => _idle.TryTake(out var idle) ? idle : new Staging(this);

    public override void AwaitMoves()
    {
        lock (_settlingGate)
        {
            _settling ??= _gpu.CreateCopies();
            _settling.After(_moved!);
            _settling.Wait();
        }
    }

    public override DeviceExport? Export()
    {
        // The first zeros are not to come after what a sender writes.
        AwaitMoves();
        return _gpu.Share(_memory);
    }

    public override PeerPages OpenPeer(DeviceExport export, int pages) => Reached(() => new CudaPeerPages(this, _gpu.OpenShared(export, Layout.PageBytesAllLayers * pages), pages));

    public override void Abandon() => _gpu.Abandon(_memory);

    protected override void Dispose(bool disposing)
    {
        foreach (var staging in _idle)
        {
            staging.Free();
        }

        _idle.Clear();
        _settling?.Dispose();
        _written.ForEach(mark => mark.Dispose());
        _moved?.Dispose();
        _memory.Dispose();
    }

    /// <summary>What the driver refuses is no fault of the send, which is to go another way.</summary>
    private static T Reached<T>(Func<T> reach)
    {
        try
        {
            return reach();
        }
        catch (Exception e) when (e is Native.CudaUnavailableException or Native.CudaException)
        {
            throw new KvTransportException(KvFault.Unreachable, e.Message, e);
        }
    }

    private long Offset(int layer, int page) => ((long)layer * Pages + page) * Layout.PageBytes;

    /// <summary>Another process's pool. Its layers and pages lie as those of this one do.</summary>
    private sealed class CudaPeerPages(CudaKvPool own, IGpuMemory memory, int pages) : PeerPages
    {
        public override PageCopies NewCopies() => Reached(() => new CudaPageCopies(own, memory, pages, own._gpu.CreateCopies()));

        protected override void Dispose(bool disposing) => memory.Dispose();
    }

    private sealed class CudaPageCopies(CudaKvPool own, IGpuMemory peer, int peerPages, IGpuCopies copies) : PageCopies
    {
        public override bool HasLayer(int layer) => copies.HasPassed(own._moved!) && copies.HasPassed(own._written[layer]);

        public override void AwaitLayer(int layer)
        {
            copies.After(own._moved!);
            copies.After(own._written[layer]);
            copies.Wait();
        }

        public override void Copy(int layer, int page, int peerPage, long offset, long bytes) => copies.Copy(
            own._memory, own.Offset(layer, page) + offset, peer, ((long)layer * peerPages + peerPage) * own.Layout.PageBytes + offset, bytes);

        public override void Wait() => copies.Wait();

        protected override void Dispose(bool disposing) => copies.Dispose();
    }

    private sealed class Staging : PageStaging
    {
        private readonly CudaKvPool _pool;
        private readonly IGpuMemory _places;
        private readonly IGpuCopies _copies;

        public Staging(CudaKvPool pool)
            : base(pool.Layout, pool.StagedPages)
        {
            _pool = pool;
            _places = pool._gpu.AllocatePinned((long)Pages * Layout.PageBytes);
            try
            {
                _copies = pool._gpu.CreateCopies();
            }
            catch
            {
                _places.Dispose();
                throw;
            }
        }

        public override byte* PagePointer(int layer, int page) => (byte*)_places.Value + (long)page * Layout.PageBytes;

        public override void Load(int layer, ReadOnlySpan<int> pages)
        {
            _copies.After(_pool._moved!);
            _copies.After(_pool._written[layer]);
            for (int place = 0, run; place < pages.Length; place += run)
            {
                run = 1;
                while (place + run < pages.Length && pages[place + run] == pages[place] + run)
                {
                    run++;
                }

                _copies.Download(_pool._memory, _pool.Offset(layer, pages[place]), PagePointer(0, place), (long)run * Layout.PageBytes);
            }

            _copies.Wait();
        }

        public override void Store(int place, int layer, int page, int offset, int bytes)
        {
            _copies.After(_pool._moved!);
            _copies.Upload(PagePointer(0, place) + offset, _pool._memory, _pool.Offset(layer, page) + offset, bytes);
        }

        public override void Settle() => _copies.Wait();

        /// <summary>At the pool's end.</summary>
        public void Free()
        {
            _copies.Dispose();
            _places.Dispose();
        }

        protected override void Dispose(bool disposing)
        {
            Settle();
            _pool._idle.Add(this);
        }
    }
}
