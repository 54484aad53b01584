using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Scripts;

/// <summary>Makes versions of texts.</summary>
/// <remarks>
/// A text becomes a version in these steps: (1) its name's turn; (2) the text and what it loads are read and hashed; the same text loaded
/// already ends here; (3) compile, one at a time on the whole host; (4) load, top-level statements and OnLoad included; (5) write version and
/// activation to the store; (6) publish. Until (5) nothing has changed.
/// </remarks>
internal sealed class VersionIntake(
    IScriptCompiler compiler, ScriptLimits limits, IRouterStore store, CompileQueue queue, VersionLoader loader, RoutersInForce routers, RouterView view,
    TimeProvider time, IHostEvents events, Lock gate)
{
    /// <summary>As <see cref="RouterCatalog.Put"/>.</summary>
    public async Task<RouterPutResult> Put(RouterSubmission submission, CancellationToken cancellationToken)
    {
        RouterNames.Check(submission.Name);
        using var place = queue.Enter();
        var slot = routers.FindOrAdd(submission.Name);

        // 1
        await slot.Turn.WaitAsync(cancellationToken);
        try
        {
            // 2
            var source = await compiler.ReadAsync(submission.Name, submission.Text, cancellationToken);
            var number = await RouterRefusals.FromStore(() => store.Number(submission.Name, source.Hash, cancellationToken));
            if (slot.Serving.Usable.GetValueOrDefault(number.Number) is { } same)
            {
                await routers.Commit(table => new StoreCommit(Activation(table, submission, number.Number), Seen: submission.Seen), cancellationToken);
                return Result(slot, same, created: false);
            }

            return await Create(slot, number, source, submission, cancellationToken);
        }
        finally
        {
            slot.Turn.Release();
        }
    }

    private async Task<RouterPutResult> Create(RouterSlot slot, VersionNumber number, ScriptSource source, RouterSubmission submission, CancellationToken cancellationToken)
    {
        var version = new RouterVersion(
            slot.Name, number.Number, source, number.Known?.Origin ?? submission.Origin, number.Known?.Time ?? time.GetUtcNow(), slot.CountsOf(number.Number));

        // 3, 4
        var script = await loader.Load(version, submission.Options ?? slot.Route.Options.GetValueOrDefault(number.Number), cancellationToken);
        var outcome = script is null ? VersionOutcome.Rejected : VersionOutcome.Accepted;
        var stored = new StoredVersion(slot.Name, number.Number, source.Hash, version.Origin, version.Time, outcome, version.Diagnostics);
        if (script is null)
        {
            return await Reject(slot, version, stored, submission, cancellationToken);
        }

        lock (gate)
        {
            routers.Loaded_NeedsLock(slot, version, script);
        }

        // 5, 6
        try
        {
            await routers.Commit(
                table => new StoreCommit(
                    [
                        .. table[slot.Name].Known.Contains(number.Number) ? Array.Empty<RouterChange>() : [Addition(RouterChangeKind.Added, version)],
                        .. Activation(table, submission, number.Number),
                        .. slot.Forgettable(table[slot.Name], limits.History).Where(old => old != number.Number)
                            .Select(old => new RouterChange(RouterChangeKind.Deleted, slot.Name) { Version = old, Reason = "more versions than router-history" }),
                    ],
                    (stored, source.Files),
                    submission.Seen),
                cancellationToken);
        }
        finally
        {
            // It could not be written, or has been deleted already.
            lock (gate)
            {
                routers.Drop_NeedsLock(slot, version);
            }
        }

        if (!submission.Activate)
        {
            events.Publish("router.loaded", version.Label, $"{version.Label} is loaded");
        }

        return Result(slot, version, created: number.Known is null);
    }

    private async Task<RouterPutResult> Reject(RouterSlot slot, RouterVersion version, StoredVersion stored, RouterSubmission submission, CancellationToken cancellationToken)
    {
        version.Step(RouterStep.Reject);
        await routers.Commit(
            table => table[slot.Name].Known.Contains(version.Number)
                ? new StoreCommit([], Seen: submission.Seen)
                : new StoreCommit([Addition(RouterChangeKind.Rejected, version)], (stored, version.Source.Files), submission.Seen),
            cancellationToken);
        events.Publish("router.rejected", version.Label, $"{version.Label} was rejected: {version.Diagnostics.First(diagnostic => diagnostic.IsError)}");
        return Result(slot, version, created: true) with { Diagnostics = version.Diagnostics, Accepted = false };
    }

    private static RouterChange Addition(RouterChangeKind kind, RouterVersion version) =>
        new(kind, version.Name) { Version = version.Number, By = version.Origin.Author, Reason = version.Origin.Message };

    private static IReadOnlyList<RouterChange> Activation(RoutingTable table, RouterSubmission submission, int number) => !submission.Activate
        || (table[submission.Name] is { Canary: null } route && route.Active == number && submission.Options is null)
        ? []
        : [new RouterChange(RouterChangeKind.Activated, submission.Name) { Version = number, Options = submission.Options, By = submission.Origin.Author, Reason = submission.Origin.Message }];

    private RouterPutResult Result(RouterSlot slot, RouterVersion version, bool created)
    {
        lock (gate)
        {
            return new RouterPutResult(view.Describe_NeedsLock(slot, version.Number), created, version.Diagnostics, version.Source);
        }
    }
}
