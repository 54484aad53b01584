namespace ScriptedServe.Host.Scripts.Guarding;

/// <summary>Which versions of a name serve.</summary>
/// <param name="IsRollback">The active version came back by a rollback: an operator or the guard wanted it, and it is not on trial.</param>
/// <param name="Guard">What the newest of them says of its guard, as in <see cref="GuardBounds.With"/>; null for the host's bounds.</param>
internal readonly record struct GuardedRouter(string Name, int? Active, int? Canary, bool IsRollback, string? Guard);

/// <summary>The routers as the guard sees them.</summary>
internal interface IGuardedRouters
{
    IReadOnlyList<GuardedRouter> Read();

    /// <summary>Ends the canary, or lets the version before serve again; nothing happens if this version does not serve any more.</summary>
    /// <exception cref="RouterRefusedException">It cannot be done.</exception>
    Task RollBack(string router, int version, string reason, CancellationToken cancellationToken);
}
