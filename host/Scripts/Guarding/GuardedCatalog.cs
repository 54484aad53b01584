namespace ScriptedServe.Host.Scripts.Guarding;

/// <summary>The host's own routers, guarded.</summary>
internal sealed class GuardedCatalog(RouterCatalog catalog) : IGuardedRouters
{
    /// <summary>The option of an activation that changes its guard; see <see cref="GuardBounds.With"/>.</summary>
    public const string Option = "guard";

    private const string Author = "guard";

    public IReadOnlyList<GuardedRouter> Read() => [.. catalog.List().Select(Of)];

    public Task RollBack(string router, int version, string reason, CancellationToken cancellationToken) =>
        catalog.Rollback(router, new RouterCause(Author, reason), onlyFrom: version, cancellationToken);

    private static GuardedRouter Of(RouterInfo router)
    {
        var newest = router.Canary?.Version ?? router.ActiveVersion;
        return new GuardedRouter(
            router.Name, router.ActiveVersion, router.Canary?.Version, router.CameByRollback,
            router.Versions.FirstOrDefault(version => version.Version == newest)?.Options.GetValueOrDefault(Option));
    }
}
