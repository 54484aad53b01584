using ScriptedServe.Host.Options;

namespace ScriptedServe.Host.Scripts.Store;

/// <summary>Opens the store that the options ask for.</summary>
internal static class RouterStores
{
    /// <summary>As the value of <c>--data</c>: memory only.</summary>
    public const string None = "none";

    /// <summary>Beside the scripts folder.</summary>
    public const string DefaultFolder = ".scriptedserve";

    /// <exception cref="RouterStoreException">It cannot be opened, or was written by a later version of the program.</exception>
    /// <exception cref="RouterStoreInUseException">Another host uses the folder that was asked for.</exception>
    public static async Task<IRouterStore> Open(ServeOptions options, string scriptsFolder, TimeProvider time, ILogger log)
    {
        if (options.Store is { } address)
        {
            return await PostgresRouterStore.Open(address, time, CancellationToken.None);
        }

        if (options.Data is { } folder)
        {
            return folder == None ? new MemoryRouterStore(time) : await SqliteRouterStore.Open(folder, time);
        }

        var beside = Path.Combine(Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(scriptsFolder))) ?? scriptsFolder, DefaultFolder);
        try
        {
            return await SqliteRouterStore.Open(beside, time);
        }
        catch (RouterStoreInUseException)
        {
            log.LogWarning("Another host keeps its routers in {Folder}; this one keeps versions in memory only. Give it a folder of its own with --data.", beside);
        }
        catch (RouterStoreException e) when (e.InnerException is UnauthorizedAccessException or IOException)
        {
            log.LogWarning("{Error} This host keeps versions in memory only.", e.Message);
        }

        return new MemoryRouterStore(time);
    }
}
