namespace ScriptedServe.Engine;

/// <summary>Where the engine's KV socket lies: beside its own socket, or in a folder of its own that disposal removes.</summary>
internal sealed class SocketFolder : IDisposable
{
    private readonly DirectoryInfo? _own;

    private SocketFolder(string kvSocketPath, DirectoryInfo? own) => (KvSocketPath, _own) = (kvSocketPath, own);

    public string KvSocketPath { get; }

    /// <param name="socketPath">The engine's socket; null if it listens on TCP.</param>
    public static SocketFolder For(string? socketPath)
    {
        if (socketPath is not null)
        {
            return new SocketFolder(socketPath + ".kv", null);
        }

        // Readable by this user alone.
        var own = Directory.CreateTempSubdirectory("scriptedserve-");
        return new SocketFolder(Path.Combine(own.FullName, "kv.sock"), own);
    }

    public void Dispose() => _own?.Delete(recursive: true);
}
