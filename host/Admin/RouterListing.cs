using System.Text.Json;
using System.Text.Json.Nodes;
using ScriptedServe.Host.Requests.Figures;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Guarding;
using ScriptedServe.Host.Scripts.Shadowing;

namespace ScriptedServe.Host.Admin;

/// <summary>Routers as <c>GET /admin/routers</c> shows them: what the catalog says of each, each version's figures, and what the guard makes of them.</summary>
internal sealed class RouterListing(RouterCatalog catalog, FigureBook figures, RouterGuard guard, ShadowRouters? shadows = null)
{
    public IEnumerable<JsonObject> Routers() => catalog.List().Select(router =>
    {
        var shown = Node(router);
        foreach (var (version, node) in router.Versions.Zip(shown["versions"]!.AsArray()))
        {
            if (figures.Find($"{router.Name}@{version.Version}") is { } known)
            {
                var (counts, seconds) = known.Lately();
                node!["failed"] = Node(FiguresView.Of(known.Total(), seconds).Failed);
                node["lately"] = Node(FiguresView.Of(counts, seconds));
            }
        }

        shown["guard"] = JsonSerializer.SerializeToNode(guard.View(router.Name), AdminReply.Json);
        shown["shadow"] = JsonSerializer.SerializeToNode(shadows?.View(router.Name), AdminReply.Json);
        return shown;
    });

    private static JsonObject Node<T>(T value) => JsonSerializer.SerializeToNode(value, AdminReply.Json)!.AsObject();
}
