using FsCheck;
using FsCheck.Fluent;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Tests.Scripts;

public sealed class RoutingTableTests
{
    private static readonly string[] Labels = ["stable", "candidate"];

    [Fact]
    public void Whatever_the_log_says_what_serves_is_known_and_what_is_used_is_never_forgotten()
    {
        var changes = ArbMap.Default.GeneratorFor<int>().ArrayOf(60).Select(seeds => seeds.Select(Change).ToList());
        Prop.ForAll(Arb.From(changes), log =>
        {
            var route = RouterRoute.Empty;
            foreach (var change in log)
            {
                var before = route;
                route = route.Apply(change) ?? route;
                var used = route.Wanted.Concat(route.Past).ToList();
                Assert.All(used, version => Assert.Contains(version, route.Known));
                Assert.DoesNotContain(route.Active ?? 0, route.Past);
                Assert.Equal(route.Past.Count, route.Past.Distinct().Count());
                Assert.True(route.Canary is null || (route.Canary.Version != route.Active && route.Active is not null));
                Assert.All(before.Known.Except(route.Known), gone => Assert.Null(before.UseOf(gone)));
            }
        }).QuickCheckThrowOnFailure();

        static RouterChange Change(int seed)
        {
            var (kind, version, other) = (Math.Abs(seed % 8), 1 + (Math.Abs(seed / 8) % 5), 1 + (Math.Abs(seed / 40) % 5));
            return new RouterChange((RouterChangeKind)kind, "main")
            {
                Version = kind == (int)RouterChangeKind.Deleted && other == 1 ? null : version,
                From = other,
                Share = 10 * other,
                Label = Labels[other % 2],
            };
        }
    }

    [Fact]
    public void A_rollback_that_comes_after_another_activation_changes_nothing()
    {
        var table = Play(Of(RouterChangeKind.Added, 1), Of(RouterChangeKind.Added, 2), Of(RouterChangeKind.Added, 3), Of(RouterChangeKind.Activated, 1), Of(RouterChangeKind.Activated, 2));

        // Two hosts saw the same bad version and both roll it back; a third activated another meanwhile.
        var back = Of(RouterChangeKind.RolledBack, 1) with { From = 2 };
        Assert.Equal((1, 0), (Next(table, back)["main"].Active, Next(table, back)["main"].Past.Count));
        Assert.Equal(1, Next(Next(table, back), back)["main"].Active);
        Assert.Equal(3, Next(Next(table, Of(RouterChangeKind.Activated, 3)), back)["main"].Active);
    }

    [Fact]
    public void Entries_are_applied_in_order_only()
    {
        var table = Play(Of(RouterChangeKind.Added, 1));
        Assert.Throws<ArgumentException>(() => table.Apply(new LoggedChange(1, default, Of(RouterChangeKind.Added, 2))));
    }

    private static RouterChange Of(RouterChangeKind kind, int version) => new(kind, "main") { Version = version };

    private static RoutingTable Next(RoutingTable table, RouterChange change) => table.Apply(new LoggedChange(table.Sequence + 1, default, change));

    private static RoutingTable Play(params RouterChange[] changes) => changes.Aggregate(RoutingTable.Empty, Next);
}
