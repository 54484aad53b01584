using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>A pin on a version, and the way into its script.</summary>
internal sealed class RouterLease(RouterVersion version, ScriptBudget budget) : IRouterLease
{
    /// <summary>Of a request whose turns can be short: engines are given its tokens.</summary>
    private const int MostTokens = 4096;

    private RouterVersion? _version = version;

    public string Name { get; } = version.Name;

    public int Version { get; } = version.Number;

    public IAsyncEnumerable<Chunk> HandleRequest(Request request, ScriptRecord? record = null)
    {
        var pinned = _version ?? throw new ObjectDisposedException(nameof(RouterLease));

        // Here and not with the pin: who only asks whether a router serves, as readiness does, is no request.
        pinned.Counts.CountRequest();
        var scope = new ScriptScope(budget, pinned.Label, request.Id, request.Cancelled, record) { HasShortTurns = pinned.Script.HasShortTurns && request.Length <= MostTokens };
        return new ScriptStream(pinned.Script, scope, request, pinned.Counts.CountError);
    }

    public void Dispose() => Interlocked.Exchange(ref _version, null)?.Unpin();
}
