using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>The routers that are loaded, as the data path sees them.</summary>
public interface IRouterCatalog
{
    /// <summary>Pins a loaded version for one request. The version cannot be unloaded before the lease is disposed.</summary>
    /// <param name="spec"><c>name</c>, <c>name@version</c>, <c>name@label</c>, or null for the default router.</param>
    /// <param name="requestId">Decides, unless a header does, whether a canary takes the request.</param>
    /// <exception cref="RouterNotFoundException">No such router, or the version is not loaded.</exception>
    IRouterLease Acquire(string? spec, string requestId = "", IReadOnlyDictionary<string, string>? headers = null);
}

/// <summary>A pinned router version. Dispose exactly once, when the request has ended.</summary>
public interface IRouterLease : IDisposable
{
    string Name { get; }

    int Version { get; }

    /// <summary>Runs the version's entry point. Errors of the script pass through as they are.</summary>
    /// <param name="record">Where what the script does is written down, or null.</param>
    IAsyncEnumerable<Chunk> HandleRequest(Request request, ScriptRecord? record = null);
}

/// <summary>The router a request asked for is not loaded.</summary>
public sealed class RouterNotFoundException(string message) : Exception(message);
