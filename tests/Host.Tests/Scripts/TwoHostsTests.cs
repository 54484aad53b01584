using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Store;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>Several hosts over one PostgreSQL database: each a catalog of its own in this process.</summary>
public sealed class TwoHostsTests(TwoHostsTests.Server fixture) : IClassFixture<TwoHostsTests.Server>
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public sealed class Server : IAsyncLifetime
    {
        public PostgresServer? Postgres { get; private set; }

        public async Task InitializeAsync() => Postgres = Prerequisites.ReasonToSkip(Need.Postgres) is null ? await PostgresServer.StartAsync() : null;

        public Task DisposeAsync() => Postgres?.DisposeAsync().AsTask() ?? Task.CompletedTask;
    }

    [RequiresFact(Need.Postgres)]
    public async Task An_activation_on_one_host_serves_on_the_other_and_a_host_that_was_away_catches_up()
    {
        var name = "r" + Guid.NewGuid().ToString("N")[..8];
        await using var a = await Host.Start(fixture.Postgres!, name);
        await using (var b = await Host.Start(fixture.Postgres!, name))
        {
            await a.Catalog.MustPut(CatalogHarness.Answering(1), name);
            await b.Until(() => b.Active == 1);
            Assert.Equal([1], await b.Catalog.Serve());

            // From there to here: a canary, its label, the way back, and a version that this host never saw the file of.
            await b.Catalog.MustPut(CatalogHarness.Answering(2), name, activate: false);
            await b.Catalog.Label("candidate", 2, name);
            await b.Catalog.Activate(name, 2, share: 25);
            await a.Until(() => a.Catalog.Router(name).Versions[0] is { Traffic: 25, State: RouterPhase.Loaded });
            Assert.Equal([2], await a.Catalog.Serve(spec: $"{name}@candidate"));
            await a.Catalog.Rollback(name);
            await b.Until(() => b.Catalog.Router(name).Canary is null);
        }

        await a.Catalog.MustPut(CatalogHarness.Answering(3), name);
        await a.Catalog.Delete(name, 1);
        await using var back = await Host.Start(fixture.Postgres!, name);
        Assert.Equal([3], await back.Catalog.Serve());
        Assert.Equal([3, 2], back.Catalog.Router(name).Versions.Select(version => version.Version));
    }

    [RequiresFact(Need.Postgres)]
    public async Task Concurrent_puts_and_activations_end_in_one_order_everywhere()
    {
        var name = "r" + Guid.NewGuid().ToString("N")[..8];
        await using var a = await Host.Start(fixture.Postgres!, name);
        await using var b = await Host.Start(fixture.Postgres!, name);

        // The same text on both at once is one version; different ones get different numbers.
        var same = await Task.WhenAll(a.Catalog.MustPut(CatalogHarness.Answering(1), name), b.Catalog.MustPut(CatalogHarness.Answering(1), name));
        Assert.Equal([1, 1], same.Select(version => version.Version));
        var two = await Task.WhenAll(a.Catalog.MustPut(CatalogHarness.Answering(2), name), b.Catalog.MustPut(CatalogHarness.Answering(3), name));
        Assert.Equal([2, 3], two.Select(version => version.Version).Order());

        var random = new Random(17);
        var work = new[] { a, b }.SelectMany(host => Enumerable.Range(0, 3).Select(_ => random.Next()).Select(seed => Task.Run(async () =>
        {
            var own = new Random(seed);
            for (var i = 0; i < 15; i++)
            {
                await host.Catalog.Activate(name, own.Next(1, 4), share: own.Next(3) == 0 ? 30 : 100).ContinueWith(static done => done.Exception, TaskScheduler.Default);
            }
        }))).ToList();
        await Task.WhenAll(work);
        var last = await a.Catalog.Activate(name, 1 + (a.Active!.Value % 3));
        await b.Until(() => b.Active == last.Version && b.Catalog.Router(name).Canary is null);
        var log = await a.Store.ReadLog(0, CancellationToken.None);
        Assert.Equal(Enumerable.Range(1, log.Count).Select(i => (long)i), log.Select(entry => entry.Sequence));
        Assert.Equal(last.Version, RoutingTable.Empty.Apply(log)[name].Active);
        Assert.Equal(a.Catalog.Router(name).Versions.Select(version => (version.Version, version.Traffic)), b.Catalog.Router(name).Versions.Select(version => (version.Version, version.Traffic)));
    }

    [RequiresFact(Need.Postgres)]
    public async Task While_the_database_is_down_hosts_serve_refuse_changes_and_then_catch_up()
    {
        // A server of its own: the others must not miss theirs.
        await using var postgres = await PostgresServer.StartAsync();
        await using var a = await Host.Start(postgres, "main");
        await using var b = await Host.Start(postgres, "main");
        await a.Catalog.MustPut(CatalogHarness.Answering(1));
        await b.Until(() => b.Active == 1);

        await postgres.StopAsync();
        foreach (var host in (Host[])[a, b])
        {
            var refused = await Assert.ThrowsAsync<RouterRefusedException>(() => host.Catalog.Put(CatalogHarness.Answering(2)));
            Assert.Equal(RouterRefusal.StoreUnavailable, refused.Refusal);
            Assert.Contains(host.Store.Description, refused.Message, StringComparison.Ordinal);
            Assert.DoesNotContain("secret-word", refused.ToString(), StringComparison.Ordinal);
            await Assert.ThrowsAsync<RouterRefusedException>(() => host.Catalog.Rollback());
            Assert.Equal([1], await host.Catalog.Serve());
            Assert.Equal([1], host.Catalog.Router().Versions.Select(version => version.Version));
        }

        await postgres.ResumeAsync();
        await a.Until(async () =>
        {
            try
            {
                return (await a.Catalog.Put(CatalogHarness.Answering(3))).Accepted;
            }
            catch (RouterRefusedException)
            {
                return false;
            }
        });
        await b.Until(() => b.Active == 2);
        Assert.Equal([3], await b.Catalog.Serve());
        Assert.DoesNotContain(a.Catalog.Loggers.Lines.Concat(b.Catalog.Loggers.Lines), line => line.Contains("secret-word", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("postgres://ann:p%40ss@db.example:6543/routers?sslmode=require", "Host=db.example;Port=6543;Database=routers;Username=ann;Password=p@ss;SSL Mode=Require", "postgres://db.example:6543/routers")]
    [InlineData("postgresql:///routers?host=/run/postgresql&user=ann", "Host=/run/postgresql;Database=routers;Username=ann", "postgres:///run/postgresql:5432/routers")]
    [InlineData("Host=db;Database=routers;Username=ann;Password=secret;Timeout=3", "Host=db;Database=routers;Username=ann;Password=secret;Timeout=3", "postgres://db:5432/routers")]
    public void A_database_is_named_by_URL_or_connection_string_and_shown_without_secrets(string text, string parts, string shown)
    {
        var address = PostgresAddress.Parse(text);
        Assert.All(parts.Split(';'), part => Assert.Contains(part, address.ConnectionString, StringComparison.Ordinal));
        Assert.Equal((shown, shown), (address.Description, address.ToString()));
    }

    [Theory]
    [InlineData("postgres://ann:topsecret@db/routers?nonsense=1", "nonsense")]
    [InlineData("topsecret", "neither")]
    [InlineData("Username=ann;Password=topsecret", "no host")]
    public void A_wrong_database_address_is_refused_without_showing_it(string text, string reason)
    {
        var message = Assert.Throws<FormatException>(() => PostgresAddress.Parse(text)).Message;
        Assert.Contains(reason, message, StringComparison.Ordinal);
        Assert.DoesNotContain("topsecret", message, StringComparison.Ordinal);
    }

    private sealed record Host(CatalogHarness Catalog, PostgresRouterStore Store, string Name) : IAsyncDisposable
    {
        public int? Active => Catalog.Catalog.List().FirstOrDefault(router => router.Name == Name)?.ActiveVersion;

        public static async Task<Host> Start(PostgresServer postgres, string name)
        {
            var store = await PostgresRouterStore.Open(PostgresAddress.Parse(postgres.Url), TimeProvider.System, CancellationToken.None);
            var catalog = new CatalogHarness(defaultRouter: name, store: store);
            await catalog.Catalog.Restore(CancellationToken.None);
            return new Host(catalog, store, name);
        }

        public Task Until(Func<bool> holds) => Until(() => Task.FromResult(holds()));

        public async Task Until(Func<Task<bool>> holds)
        {
            using var patience = new CancellationTokenSource(Patience, TimeProvider.System);
            while (!await holds())
            {
                await Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System, patience.Token);
            }
        }

        public async ValueTask DisposeAsync()
        {
            await Catalog.DisposeAsync();
            await Store.DisposeAsync();
        }
    }
}
