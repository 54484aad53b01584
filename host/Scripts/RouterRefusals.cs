namespace ScriptedServe.Host.Scripts;

/// <summary>The catalog's refusals in words: what was asked, why it cannot be, what can.</summary>
internal static class RouterRefusals
{
    public static RouterRefusedException NoRouter(string name) => new(RouterRefusal.NotFound, "router_not_found", $"There is no router \"{name}\"");

    public static RouterRefusedException NotLoaded(RouterSlot slot, int version)
    {
        var usable = string.Join(", ", slot.Usable.Keys.Order());
        return slot.Known.Any(known => known.Number == version)
            ? new RouterRefusedException(RouterRefusal.Conflict, "version_not_loaded", $"Version {version} of router {slot.Name} is not loaded any more; put its source again. Loaded are: {usable}")
            : new RouterRefusedException(RouterRefusal.NotFound, "version_not_found", $"Router {slot.Name} has no version {version}; loaded are: {usable}");
    }

    public static RouterRefusedException InUse(RouterVersion version) =>
        new(RouterRefusal.Conflict, "router_in_use", $"{version.Label} is serving {version.Leases} requests; wait until they have ended");

    public static RouterRefusedException IsActive(RouterVersion version) =>
        new(RouterRefusal.Conflict, "router_in_use", $"{version.Label} is the active version; activate another one first");

    public static RouterRefusedException IsDefault(string name) =>
        new(RouterRefusal.Conflict, "router_in_use", $"Router {name} is the default router (setting router); it serves requests that name none");

    public static RouterRefusedException NothingToDelete(string name) =>
        new(RouterRefusal.NotFound, "router_not_found", $"Router {name} has no loaded version; there is nothing to delete");

    public static RouterRefusedException NoPrevious(string name) => new(
        RouterRefusal.Conflict, "no_previous_version", $"Router {name} has no earlier active version that is still loaded; activate one by number or put its source again");

    /// <summary>For a request on the data path.</summary>
    /// <param name="active">Names that serve.</param>
    public static RouterNotFoundException NotServing(string name, int? number, RouterSlot? slot, bool isDefault, IEnumerable<string> active)
    {
        var usable = slot is null ? [] : slot.Usable.Keys.Order().ToList();
        return new RouterNotFoundException((usable.Count, number) switch
        {
            (0, _) when isDefault => $"The default router {name} is not loaded (setting router)",
            (0, _) => $"There is no router \"{name}\"; loaded are: {string.Join(", ", active.Order(StringComparer.Ordinal))}",
            (_, null) => $"Router {name} has no active version; activate one, or name one of {name}@{string.Join(", @", usable)}",
            _ => $"Version {number} of router {name} is not loaded; loaded are: {string.Join(", ", usable)}",
        });
    }
}
