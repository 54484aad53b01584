using System.Collections.Concurrent;

namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>
/// A device that several processes use, each with a pool on it: what one exports another opens, and copies are made when somebody waits for them, with the memory as it is then. Freeing memory that another has open
/// is an error.
/// </summary>
internal sealed class SharedDevice
{
    private readonly ConcurrentDictionary<int, DevicePool> _exports = new();
    private int _last;

    /// <summary>Called before copies are made; may block, as a busy device does.</summary>
    public Action? OnCopies { get; set; }

    /// <summary>Copies made so far, whatever they have in them.</summary>
    public int Copies { get; private set; }

    /// <summary>What a process sees of others' memory.</summary>
    public bool CanOpen { get; set; } = true;

    public DevicePool NewPool(KvLayout layout, int pages) => new(this, layout, pages);

    public sealed class DevicePool(SharedDevice device, KvLayout layout, int pages) : KvPool(layout, pages)
    {
        private int _openings;

        public TestPool Contents { get; } = new(layout, pages);

        /// <summary>Others that have it open.</summary>
        public int Openings => Volatile.Read(ref _openings);

        public bool IsAbandoned { get; private set; }

        public bool IsFreed { get; private set; }

        /// <summary>Layers that are still being computed: whoever waits for one waits for its event.</summary>
        public ConcurrentDictionary<int, ManualResetEventSlim> Computing { get; } = new();

        /// <summary>How often it was waited for pages to be moved.</summary>
        public int MovesAwaited { get; private set; }

        /// <summary>What the layer must have been waited for, since it was computed.</summary>
        public ConcurrentDictionary<int, byte> Awaited { get; } = new();

        public override bool IsOnDevice => true;

        public override unsafe byte* PagePointer(int layer, int page) => throw new InvalidOperationException("The CPU followed a pointer of a device.");

        public override PageStaging RentStaging() => new PlainStaging(Contents);

        public override void AwaitMoves() => MovesAwaited++;

        public override DeviceExport Export()
        {
            var id = Interlocked.Increment(ref device._last);
            device._exports[id] = this;
            return new DeviceExport(Guid.Empty, BitConverter.GetBytes(id), 0);
        }

        public override PeerPages OpenPeer(DeviceExport export, int pages)
        {
            if (!device.CanOpen || !device._exports.TryGetValue(BitConverter.ToInt32(export.Handle.Span), out var peer))
            {
                throw new KvTransportException(KvFault.Unreachable, "the device is not visible here");
            }

            Assert.Equal(peer.Pages, pages);
            Interlocked.Increment(ref peer._openings);
            return new Opened(device, this, peer);
        }

        public override void Abandon() => IsAbandoned = true;

        protected override void Dispose(bool disposing)
        {
            Assert.True(IsAbandoned || Openings == 0, "Memory was freed that another process has open");
            IsFreed = !IsAbandoned;
            Contents.Dispose();
        }

        public void Closed() => Interlocked.Decrement(ref _openings);
    }

    private sealed class Opened(SharedDevice device, DevicePool own, DevicePool peer) : PeerPages
    {
        public override PageCopies NewCopies() => new Line(device, own, peer);

        protected override void Dispose(bool disposing) => peer.Closed();
    }

    private sealed class Line(SharedDevice device, DevicePool own, DevicePool peer) : PageCopies
    {
        private readonly List<Action> _given = [];

        public override bool HasLayer(int layer) => !own.Computing.TryGetValue(layer, out var computed) || computed.IsSet;

        public override void AwaitLayer(int layer)
        {
            if (own.Computing.TryGetValue(layer, out var computed))
            {
                computed.Wait();
            }

            own.Awaited[layer] = 0;
        }

        public override unsafe void Copy(int layer, int page, int peerPage, long offset, long bytes)
        {
            Assert.True(own.Awaited.ContainsKey(layer), "A layer was copied that nobody had waited for");
            var (from, to) = (own.Contents, peer.Contents);
            Assert.InRange(offset + bytes, 1, (long)(Math.Min(from.Pages - page, to.Pages - peerPage)) * from.Layout.PageBytes);
            _given.Add(() =>
            {
                device.Copies++;
                var tokens = from.Layout.PageBytes;
                for (var done = 0L; done < bytes;)
                {
                    var (index, at) = Math.DivRem(offset + done, tokens);
                    var part = (int)Math.Min(tokens - at, bytes - done);
                    from.Page(layer, page + (int)index).Slice((int)at, part).CopyTo(to.Page(layer, peerPage + (int)index)[(int)at..]);
                    done += part;
                }
            });
        }

        public override void Wait()
        {
            device.OnCopies?.Invoke();
            _given.ForEach(copy => copy());
            _given.Clear();
        }

        protected override void Dispose(bool disposing) => Assert.Empty(_given);
    }

    private sealed class PlainStaging : PageStaging
    {
        private readonly TestPool _device;
        private readonly TestPool _places;

        public PlainStaging(TestPool device)
            : base(device.Layout, 4) => (_device, _places) = (device, new TestPool(Layout, Pages));

        public override unsafe byte* PagePointer(int layer, int page) => _places.PagePointer(layer, page);

        public override void Load(int layer, ReadOnlySpan<int> pages)
        {
            for (var place = 0; place < pages.Length; place++)
            {
                _device.Page(layer, pages[place]).CopyTo(_places.Page(0, place));
            }
        }

        public override void Store(int place, int layer, int page, int offset, int bytes) => _places.Page(0, place).Slice(offset, bytes).CopyTo(_device.Page(layer, page)[offset..]);

        public override void Settle()
        {
        }

        protected override void Dispose(bool disposing) => _places.Dispose();
    }
}
