using ScriptedServe.Contracts;

namespace ScriptedServe.Engine;

/// <summary>Where the engine's KV socket lies: beside its own socket, or in a folder of its own that disposal removes.</summary>
internal sealed class SocketFolder : IDisposable
{
    private readonly PrivateFolder? _own;

    private SocketFolder(string kvSocketPath, PrivateFolder? own) => (KvSocketPath, _own) = (kvSocketPath, own);

    public string KvSocketPath { get; }

    /// <param name="socketPath">The engine's socket; null if it listens on TCP.</param>
    public static SocketFolder For(string? socketPath)
    {
        if (socketPath is not null)
        {
            return new SocketFolder(socketPath + ".kv", null);
        }

        var own = PrivateFolder.Create();
        return new SocketFolder(Path.Combine(own.Path, "kv.sock"), own);
    }

    public void Dispose() => _own?.Dispose();
}
