using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>KV pages in the memory of a GPU: <see cref="KvPool.PagePointer"/> gives addresses of the device, which the CPU cannot follow.</summary>
internal sealed unsafe class CudaKvPool : KvPool
{
    private readonly IGpu _gpu;
    private readonly IGpuMemory _memory;

    /// <exception cref="Native.CudaException">The device has not as much memory.</exception>
    public CudaKvPool(IGpu gpu, KvLayout layout, int pages)
        : base(layout, pages) => (_gpu, _memory) = (gpu, gpu.Allocate(layout.PageBytesAllLayers * pages));

    public override byte* PagePointer(int layer, int page) => (byte*)_memory.Value + Offset(layer, page);

    public override void CopyPage(int from, int to)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)from, (uint)Pages);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)to, (uint)Pages);
        for (var layer = 0; layer < Layout.Layers; layer++)
        {
            _gpu.Copy(_memory, Offset(layer, from), _memory, Offset(layer, to), Layout.PageBytes);
        }
    }

    protected override void Dispose(bool disposing) => _memory.Dispose();

    private long Offset(int layer, int page) => ((long)layer * Pages + page) * Layout.PageBytes;
}
