namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>A pool whose pages the transports cannot reach but by staging: what they would find by themselves is an error.</summary>
/// <param name="places">Of a staging area.</param>
internal sealed class DeviceTestPool(KvLayout layout, int pages, int places) : KvPool(layout, pages)
{
    /// <summary>What the device holds.</summary>
    public TestPool Contents { get; } = new(layout, pages);

    /// <summary>Staging areas not yet given back.</summary>
    public int Rented { get; private set; }

    public override bool IsOnDevice => true;

    public override int StagedPages => places;

    public override unsafe byte* PagePointer(int layer, int page) => throw new InvalidOperationException("The CPU followed a pointer of a device.");

    public override PageStaging RentStaging() => new Staging(this);

    protected override void Dispose(bool disposing) => Contents.Dispose();

    private sealed unsafe class Staging : PageStaging
    {
        private readonly DeviceTestPool _device;
        private readonly TestPool _places;
        private readonly List<Action> _stores = [];

        public Staging(DeviceTestPool device)
            : base(device.Layout, device.StagedPages)
        {
            (_device, _places) = (device, new TestPool(Layout, Pages));
            device.Rented++;
        }

        public override byte* PagePointer(int layer, int page) => _places.PagePointer(layer, page);

        public override void Load(int layer, ReadOnlySpan<int> pages)
        {
            for (var place = 0; place < pages.Length; place++)
            {
                _device.Contents.Page(layer, pages[place]).CopyTo(_places.Page(0, place));
            }
        }

        // As late as may be, from what the place has then.
        public override void Store(int place, int layer, int page, int offset, int bytes) =>
            _stores.Add(() => _places.Page(0, place).Slice(offset, bytes).CopyTo(_device.Contents.Page(layer, page)[offset..]));

        public override void Settle()
        {
            _stores.ForEach(store => store());
            _stores.Clear();
        }

        protected override void Dispose(bool disposing)
        {
            Settle();
            _places.Dispose();
            _device.Rented--;
        }
    }
}
