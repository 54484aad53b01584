using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using ScriptedServe.KvTransport.Memory;

namespace ScriptedServe.KvTransport.Receiving;

/// <summary>
/// The process at the other end of a unix socket. A process that is killed may be seen to close its sockets before the driver has stopped what a device was doing for it; but the kernel closes all its files, the
/// driver's too, before the process counts as ended.
/// </summary>
internal interface IPeerProcess : IDisposable
{
    /// <summary>Completes when the process has ended.</summary>
    Task EndedAsync(CancellationToken cancellationToken);
}

/// <summary>By a descriptor of the process, so that another one that gets its id is not taken for it.</summary>
internal sealed class PeerProcess : IPeerProcess
{
    private const int SolSocket = 1, SoPeerCred = 17;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(10);

    private readonly SafeFileHandle _process;
    private readonly TimeProvider _time;

    private PeerProcess(SafeFileHandle process, TimeProvider time) => (_process, _time) = (process, time);

    /// <exception cref="KvTransportException"><see cref="KvFault.Unreachable"/>: its end cannot be seen from here, so it is to send another way.</exception>
    public static IPeerProcess Of(Socket socket, TimeProvider time)
    {
        // struct ucred: pid, uid, gid.
        Span<byte> credentials = stackalloc byte[12];
        _ = socket.GetRawSocketOption(SolSocket, SoPeerCred, credentials);
        var pid = MemoryMarshal.Read<int>(credentials);
        if (pid == 0)
        {
            throw new KvTransportException(KvFault.Unreachable, "The sender is in another PID namespace, so that its end could not be seen: it cannot write memory of a device.");
        }

        try
        {
            return new PeerProcess(LibC.OpenProcess(pid), time);
        }
        catch (IOException fault)
        {
            throw new KvTransportException(KvFault.Unreachable, $"The sender's process {pid} cannot be watched, so it cannot write memory of a device: {fault.Message}", fault);
        }
    }

    public async Task EndedAsync(CancellationToken cancellationToken)
    {
        while (!LibC.IsReadable(_process))
        {
            await Task.Delay(Interval, _time, cancellationToken);
        }
    }

    public void Dispose() => _process.Dispose();
}
