using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Tests.Scripts;

public sealed class CanaryTests
{
    [Fact]
    public async Task A_canary_takes_its_share_the_same_requests_each_time_until_it_is_promoted_or_rolled_back()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        await harness.MustPut(CatalogHarness.Answering(2), activate: false);
        await harness.Activate("main", 2, share: 10);
        var first = Versions(harness);
        Assert.InRange(first.Count(version => version == 2), 70, 130);
        Assert.Equal(first, Versions(harness));
        Assert.Equal((10.0, 90.0), (harness.Router().Versions[0].Traffic, harness.Router().Versions[1].Traffic));

        // A greater share keeps those that the smaller one took.
        await harness.Activate("main", 2, share: 40);
        var more = Versions(harness);
        Assert.InRange(more.Count(version => version == 2), 340, 460);
        Assert.DoesNotContain(first.Zip(more), pair => pair is (2, 1));

        Assert.Equal(1, (await harness.Rollback()).Version);
        Assert.DoesNotContain(2, Versions(harness));
        await harness.Activate("main", 2, share: 50);
        Assert.Equal(2, (await harness.Activate("main", 2)).Version);
        Assert.DoesNotContain(1, Versions(harness));
        Assert.Null(harness.Router().Canary);
        Assert.Equal(1, (await harness.Rollback()).Version);
    }

    [Fact]
    public async Task The_active_version_can_be_taken_out_beside_a_canary_which_then_ends_too()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        await harness.MustPut(CatalogHarness.Answering(2));
        await harness.MustPut(CatalogHarness.Answering(3), activate: false);
        await harness.Activate("main", 3, share: 50);

        Assert.Equal(1, (await harness.Rollback(onlyFrom: 2)).Version);
        Assert.Null(harness.Router().Canary);
        Assert.All(Versions(harness), version => Assert.Equal(1, version));
    }

    [Fact]
    public async Task The_end_of_a_canary_is_told_however_it_comes()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        await harness.MustPut(CatalogHarness.Answering(2), activate: false);
        await harness.Activate("main", 2, share: 10);
        await harness.Rollback();
        await harness.Activate("main", 2, share: 10);
        await harness.Activate("main", 1);
        Assert.Null(harness.Router().Canary);

        var kinds = new List<string>();
        await foreach (var told in harness.Events.Listen(after: 0, CancellationToken.None))
        {
            if (told.Text.StartsWith("main@2 is no canary any more; main@1 serves all requests", StringComparison.Ordinal))
            {
                kinds.Add(told.Kind);
                if (told.Kind == "router.activated")
                {
                    break;
                }
            }
        }

        Assert.Equal(["router.rolled_back", "router.activated"], kinds);
    }

    [Fact]
    public async Task A_header_decides_where_one_is_named()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        await harness.MustPut(CatalogHarness.Answering(2), activate: false);
        await harness.Activate("main", 2, share: 30, header: "X-User");
        var sides = Enumerable.Range(0, 200).Select(user => Enumerable.Range(0, 5).Select(i => Version($"req-{user}-{i}", user)).Distinct().Single()).ToList();
        Assert.InRange(sides.Count(version => version == 2), 35, 85);

        int Version(string id, int user)
        {
            using var lease = harness.Catalog.Acquire(null, id, new Dictionary<string, string> { ["X-User"] = $"user {user}" });
            return lease.Version;
        }
    }

    [Fact]
    public async Task What_cannot_be_a_canary_is_refused_and_a_canary_and_a_labelled_version_are_not_deleted()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1), activate: false);
        Assert.Equal("no_canary", await Refused(() => harness.Activate("main", 1, share: 10)));
        await harness.Activate("main", 1);
        Assert.Equal("no_canary", await Refused(() => harness.Activate("main", 1, share: 10)));
        await harness.MustPut(CatalogHarness.Answering(2), activate: false);
        await harness.Activate("main", 2, share: 10);
        Assert.Equal("router_in_use", await Refused(() => harness.Delete("main", 2)));
        Assert.Equal("no_previous_version", await Refused(() => harness.Rollback(onlyFrom: 1)));
        await harness.Rollback(onlyFrom: 2);
        Assert.Equal("overtaken", await Refused(() => harness.Rollback(onlyFrom: 2)));
        await harness.Label("stable", 2);
        Assert.Equal("router_in_use", await Refused(() => harness.Delete("main", 2)));

        // A labelled version stays loaded, however many come after it.
        for (var token = 3; token < 8; token++)
        {
            await harness.MustPut(CatalogHarness.Answering(token));
        }

        Assert.Equal([2], await harness.Serve(spec: "main@stable"));
        Assert.Throws<RouterNotFoundException>(() => harness.Catalog.Acquire("main@candidate"));

        static async Task<string> Refused(Func<Task> action) => (await Assert.ThrowsAsync<RouterRefusedException>(action)).Code;
    }

    [Fact]
    public async Task A_planner_runs_for_the_canary_too_and_ends_with_it()
    {
        await using var harness = new CatalogHarness();
        await harness.MustPut(CatalogHarness.Answering(1));
        await harness.MustPut("void PlanStrategy() => Log.Info(\"planned\");\n" + CatalogHarness.Answering(2), activate: false);
        await harness.Activate("main", 2, share: 10);
        await harness.Logged("main@2: planned");
        await harness.Rollback();

        // A call under way holds the version a moment longer.
        while (harness.Router().Versions[0].Leases > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System);
        }

        await harness.Delete("main", 2);
    }

    [Fact]
    public async Task A_version_that_was_unloaded_is_loaded_again_when_it_is_activated_or_labelled()
    {
        await using var harness = new CatalogHarness();
        for (var token = 1; token < 7; token++)
        {
            await harness.MustPut(CatalogHarness.Answering(token));
        }

        Assert.Throws<RouterNotFoundException>(() => harness.Catalog.Acquire("main@1"));
        await harness.Label("first", 1);
        Assert.Equal([1], await harness.Serve(spec: "main@first"));
        Assert.Equal(2, (await harness.Activate("main", 2)).Version);
        Assert.Equal([2], await harness.Serve());
        Assert.Equal(6, (await harness.Rollback()).Version);
    }

    [Fact]
    public async Task A_put_that_is_cancelled_or_cannot_be_written_changes_nothing_and_leaves_nothing()
    {
        var store = new FailingStore();
        await using var harness = new CatalogHarness(store: store);
        await harness.MustPut(CatalogHarness.Answering(1));
        store.Fails = true;
        var refused = await Assert.ThrowsAsync<RouterRefusedException>(() => harness.Put(CatalogHarness.Answering(2)));
        Assert.Equal((RouterRefusal.StoreUnavailable, "store_unavailable"), (refused.Refusal, refused.Code));
        Assert.Equal("store_unavailable", (await Assert.ThrowsAsync<RouterRefusedException>(() => harness.Activate("main", 1, options: new Dictionary<string, string> { ["x"] = "1" }))).Code);
        Assert.Equal([1], await harness.Serve());
        store.Fails = false;
        Assert.Equal([1], harness.Router().Versions.Select(version => version.Version));
        await harness.MustPut(CatalogHarness.Answering(3));
        Assert.Equal([3], await harness.Serve());
    }

    private static List<int> Versions(CatalogHarness harness) =>
        [.. Enumerable.Range(0, 1000).Select(i =>
        {
            using var lease = harness.Catalog.Acquire(null, $"req-{i}");
            return lease.Version;
        })];

    /// <summary>A store that can be out of reach.</summary>
    private sealed class FailingStore : IRouterStore
    {
        private readonly MemoryRouterStore _inner = new(TimeProvider.System);

        public bool Fails { get; set; }

        public string Description => "failing";

        public Task<VersionNumber> Number(string router, string hash, CancellationToken cancellationToken) => _inner.Number(router, hash, cancellationToken);

        public Task<IReadOnlyList<LoggedChange>> Commit(long after, Func<IReadOnlyList<LoggedChange>, StoreCommit> decide, CancellationToken cancellationToken) =>
            Fails ? throw new RouterStoreException("out of reach") : _inner.Commit(after, decide, cancellationToken);

        public Task<IReadOnlyList<LoggedChange>> ReadLog(long after, CancellationToken cancellationToken) => _inner.ReadLog(after, cancellationToken);

        public Task<IReadOnlyList<StoredVersion>> ReadVersions(string router, CancellationToken cancellationToken) => _inner.ReadVersions(router, cancellationToken);

        public Task<IReadOnlyList<ScriptFile>?> ReadFiles(string router, int number, CancellationToken cancellationToken) => _inner.ReadFiles(router, number, cancellationToken);

        public Task<IReadOnlyList<FileSeen>> ReadFilesSeen(CancellationToken cancellationToken) => _inner.ReadFilesSeen(cancellationToken);

        public Task Follow(Func<Task> grown, CancellationToken cancellationToken) => _inner.Follow(grown, cancellationToken);

        public ValueTask DisposeAsync() => _inner.DisposeAsync();
    }
}
