using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>A pin on a version, and the way into its script.</summary>
internal sealed class RouterLease(RouterVersion version, ScriptBudget budget) : IRouterLease
{
    private RouterVersion? _version = version;

    public string Name { get; } = version.Name;

    public int Version { get; } = version.Number;

    public IAsyncEnumerable<Chunk> HandleRequest(Request request, ScriptRecord? record = null)
    {
        var pinned = _version ?? throw new ObjectDisposedException(nameof(RouterLease));

        // Here and not with the pin: who only asks whether a router serves, as readiness does, is no request.
        pinned.Counts.CountRequest();
        return new ScriptStream(pinned.Script, new ScriptScope(budget, pinned.Label, request.Id, request.Cancelled, record), request, pinned.Counts.CountError);
    }

    public void Dispose() => Interlocked.Exchange(ref _version, null)?.Unpin();
}
