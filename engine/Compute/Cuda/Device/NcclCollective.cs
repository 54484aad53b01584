using ScriptedServe.Engine.Compute.Cuda.Native;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>A rank of a group of GPUs by NCCL, whose library is loaded.</summary>
internal sealed unsafe class NcclCollective : ICollective
{
    private readonly GpuDevice _device;
    private readonly GpuStream _stream;
    private nint _communicator;

    private NcclCollective(GpuDevice device, GpuStream stream, nint communicator) => (_device, _stream, _communicator) = (device, stream, communicator);

    /// <summary>Joins GPUs to one group, ranks in this order.</summary>
    /// <exception cref="CudaException">NCCL refuses: a GPU twice, say, or none of the ways between them works.</exception>
    public static IReadOnlyList<ICollective> Join(IReadOnlyList<(GpuDevice Device, GpuStream Stream)> gpus)
    {
        int[] devices = [.. gpus.Select(gpu => gpu.Device.Description.Ordinal)];
        var communicators = new nint[gpus.Count];
        fixed (nint* first = communicators)
        fixed (int* firstDevice = devices)
        {
            Nccl.Check(Nccl.ncclCommInitAll(first, devices.Length, firstDevice), $"{nameof(Nccl.ncclCommInitAll)} of cuda:{string.Join(',', devices)}");
        }

        return [.. gpus.Select((gpu, rank) => new NcclCollective(gpu.Device, gpu.Stream, communicators[rank]))];
    }

    public void Sum(nint values, long count)
    {
        _device.MakeCurrent();
        Nccl.Check(Nccl.ncclAllReduce(values, values, (nuint)count, Nccl.TypeFloat32, Nccl.OperationSum, Own, _stream.Value), nameof(Nccl.ncclAllReduce));
    }

    public void Broadcast(nint values, long bytes)
    {
        _device.MakeCurrent();
        Nccl.Check(Nccl.ncclBroadcast(values, values, (nuint)bytes, Nccl.TypeInt8, root: 0, Own, _stream.Value), nameof(Nccl.ncclBroadcast));
    }

    public void Abort() => Release(Nccl.ncclCommAbort);

    public void Dispose() => Release(Nccl.ncclCommDestroy);

    private nint Own => _communicator != 0 ? _communicator : throw new InvalidOperationException("the GPUs of the model are not joined any more: one of them has failed");

    private void Release(Func<nint, int> release)
    {
        if (Interlocked.Exchange(ref _communicator, 0) is not 0 and var communicator)
        {
            _ = release(communicator);
        }
    }
}
