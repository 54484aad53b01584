using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Scripts;

/// <summary>The catalog's refusals in words: what was asked, why it cannot be, what can.</summary>
internal static class RouterRefusals
{
    public static RouterRefusedException NoRouter(string name) => new(RouterRefusal.NotFound, "router_not_found", $"There is no router \"{name}\"");

    /// <param name="version">A number or a label.</param>
    public static RouterRefusedException NoVersion(RouterSlot slot, string version) => new(
        RouterRefusal.NotFound, "version_not_found",
        VersionSelector.IsLabel(version)
            ? $"Router {slot.Name} has no label {version}; its labels are: {Labels(slot.Serving)}"
            : $"Router {slot.Name} has no version {version}; loaded are: {Loaded(slot)}");

    public static RouterRefusedException WasRejected(RouterSlot slot, int version) =>
        new(RouterRefusal.Conflict, "version_rejected", $"{slot.Name}@{version} was rejected and cannot serve; GET /admin/routers/{slot.Name}?version={version} shows why");

    public static RouterRefusedException DoesNotLoad(RouterSlot slot, int version) => new(
        RouterRefusal.Conflict, "version_not_loaded",
        $"{slot.Name}@{version} does not load any more: {slot.Broken.GetValueOrDefault(version)?.FirstOrDefault(diagnostic => diagnostic.IsError)}. Loaded are: {Loaded(slot)}");

    public static RouterRefusedException InUse(string name, int version, long leases) =>
        new(RouterRefusal.Conflict, "router_in_use", $"{name}@{version} is serving {leases} requests; wait until they have ended");

    /// <param name="use">As <see cref="RouterRoute.UseOf"/> says.</param>
    public static RouterRefusedException CannotForget(string name, int version, string use) =>
        new(RouterRefusal.Conflict, "router_in_use", $"{name}@{version} cannot be deleted: {use}");

    public static RouterRefusedException IsDefault(string name) =>
        new(RouterRefusal.Conflict, "router_in_use", $"Router {name} is the default router (setting router); it serves requests that name none");

    public static RouterRefusedException IsLabelled(string name, IEnumerable<string> labels) =>
        new(RouterRefusal.Conflict, "router_in_use", $"Versions of router {name} are labelled {string.Join(", ", labels)}; remove the labels first");

    public static RouterRefusedException NothingToDelete(string name) =>
        new(RouterRefusal.NotFound, "router_not_found", $"Router {name} has no loaded version; there is nothing to delete");

    public static RouterRefusedException NoPrevious(string name) => new(
        RouterRefusal.Conflict, "no_previous_version", $"Router {name} has no earlier active version that can serve; activate one by number or put its source again");

    public static RouterRefusedException Overtaken(string name, int asked, int? now) =>
        new(RouterRefusal.Conflict, "overtaken", $"{name}@{asked} is not what a rollback would take out; that is {(now is null ? "nothing" : $"{name}@{now}")}");

    public static RouterRefusedException NoCanary(string name, string why) => new(RouterRefusal.Conflict, "no_canary", $"Router {name}: {why}");

    /// <exception cref="RouterRefusedException">It is malformed.</exception>
    public static void CheckLabel(string label)
    {
        if (!VersionSelector.IsLabel(label))
        {
            throw new RouterRefusedException(
                RouterRefusal.Malformed, "invalid_label", $"\"{label}\" cannot be a label: use 1 to {VersionSelector.LabelMaxLength} of a-z, 0-9, - and _, beginning with a letter");
        }
    }

    /// <summary>For a request on the data path.</summary>
    /// <param name="active">Names that serve.</param>
    public static RouterNotFoundException NotServing(string name, VersionSelector? wanted, RouterSlot? slot, bool isDefault, IEnumerable<string> active)
    {
        var serving = slot?.Serving ?? ServingSet.Empty;
        return new RouterNotFoundException((serving.Usable.Count, wanted) switch
        {
            (0, _) when isDefault => $"The default router {name} is not loaded (setting router)",
            (0, _) => $"There is no router \"{name}\"; loaded are: {string.Join(", ", active.Order(StringComparer.Ordinal))}",
            (_, null) => $"Router {name} has no active version; activate one, or name one of {name}@{string.Join(", @", serving.Usable.Keys.Order())}",
            (_, { Label: { } label }) when !serving.Labels.ContainsKey(label) => $"Router {name} has no label {label}; its labels are: {Labels(serving)}",
            _ => $"Version {wanted} of router {name} is not loaded; loaded are: {Loaded(slot!)}",
        });
    }

    /// <summary>Asks the store, and refuses in its words if it cannot answer.</summary>
    /// <exception cref="RouterRefusedException">It cannot be reached.</exception>
    public static async Task<T> FromStore<T>(Func<Task<T>> ask)
    {
        try
        {
            return await ask();
        }
        catch (RouterStoreException e)
        {
            throw new RouterRefusedException(RouterRefusal.StoreUnavailable, "store_unavailable", e.Message);
        }
    }

    private static string Loaded(RouterSlot slot) => string.Join(", ", slot.Serving.Usable.Keys.Order());

    private static string Labels(ServingSet serving) => serving.Labels.IsEmpty ? "none" : string.Join(", ", serving.Labels.Keys);
}
