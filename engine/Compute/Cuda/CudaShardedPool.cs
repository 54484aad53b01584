using System.Runtime.InteropServices;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>
/// KV pages of a model that is divided among GPUs: each has its heads of every page. To transports it is one pool on a device, whose pages come whole from its staging areas; there they are put
/// together from the GPUs' parts by the CPU. Owns the parts. Dispose of it before the GPUs, and after all staging areas are back.
/// </summary>
internal sealed unsafe class CudaShardedPool : KvPool
{
    private readonly IReadOnlyList<CudaKvPool> _parts;

    /// <param name="parts">In the order of their heads; taken over.</param>
    public CudaShardedPool(KvLayout layout, int pages, IReadOnlyList<CudaKvPool> parts)
        : base(layout, pages) => _parts = parts;

    public override bool IsOnDevice => true;

    /// <exception cref="InvalidOperationException">Always: a page is on several GPUs.</exception>
    public override byte* PagePointer(int layer, int page) => throw new InvalidOperationException("a page of this pool is on several GPUs: ask Part, or a staging area");

    /// <summary>The pages of a rank's heads.</summary>
    public CudaKvPool Part(int rank) => _parts[rank];

    public override void CopyPage(int from, int to)
    {
        foreach (var part in _parts)
        {
            part.CopyPage(from, to);
        }
    }

    public override PageStaging RentStaging() => new Staging(this);

    protected override void Dispose(bool disposing)
    {
        foreach (var part in _parts)
        {
            part.Dispose();
        }
    }

    private sealed class Staging : PageStaging
    {
        private readonly CudaShardedPool _pool;
        private readonly List<PageStaging> _parts = [];
        private byte* _places;

        public Staging(CudaShardedPool pool)
            : base(pool.Layout, pool.StagedPages)
        {
            _pool = pool;
            try
            {
                foreach (var part in pool._parts)
                {
                    _parts.Add(part.RentStaging());
                }

                _places = (byte*)NativeMemory.AlignedAlloc((nuint)((long)Pages * Layout.PageBytes), 64);
            }
            catch
            {
                Return();
                throw;
            }
        }

        /// <summary>Bytes of the keys, or values, of a part of a page.</summary>
        private int PartPlane => Layout.PlaneBytes / _parts.Count;

        public override byte* PagePointer(int layer, int page) => _places + (long)page * Layout.PageBytes;

        public override void Load(int layer, ReadOnlySpan<int> pages)
        {
            for (int part = 0; part < _parts.Count; part++)
            {
                _parts[part].Load(layer, pages);
                for (int place = 0; place < pages.Length; place++)
                {
                    for (int plane = 0; plane < 2; plane++)
                    {
                        new ReadOnlySpan<byte>(_parts[part].PagePointer(0, place) + plane * PartPlane, PartPlane).CopyTo(new Span<byte>(PagePointer(0, place) + Offset(plane, part), PartPlane));
                    }
                }
            }
        }

        public override void Store(int place, int layer, int page, int offset, int bytes)
        {
            for (int part = 0; part < _parts.Count; part++)
            {
                for (int plane = 0; plane < 2; plane++)
                {
                    int whole = Offset(plane, part), begin = Math.Max(offset, whole), end = Math.Min(offset + bytes, whole + PartPlane);
                    if (begin < end)
                    {
                        int inPart = begin - whole + plane * PartPlane;
                        new ReadOnlySpan<byte>(PagePointer(0, place) + begin, end - begin).CopyTo(new Span<byte>(_parts[part].PagePointer(0, place) + inPart, end - begin));
                        _parts[part].Store(place, layer, page, inPart, end - begin);
                    }
                }
            }
        }

        public override void Settle() => _parts.ForEach(part => part.Settle());

        protected override void Dispose(bool disposing)
        {
            Return();
            NativeMemory.AlignedFree(_places);
            _places = null;
        }

        /// <summary>Where a part's keys or values begin in a page.</summary>
        private int Offset(int plane, int part) => plane * Layout.PlaneBytes + part * PartPlane;

        private void Return()
        {
            _parts.ForEach(part => part.Dispose());
            _parts.Clear();
        }
    }
}
