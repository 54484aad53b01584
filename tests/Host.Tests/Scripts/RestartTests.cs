using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>Hosts that end and start again over one SQLite store.</summary>
public sealed class RestartTests : IDisposable
{
    private readonly string _data = Directory.CreateTempSubdirectory("scriptedserve-").FullName;

    public void Dispose() => Directory.Delete(_data, recursive: true);

    [Fact]
    public async Task What_was_in_force_comes_back_options_labels_and_canary_included()
    {
        await using (var first = await Start())
        {
            await first.Host.MustPut(CatalogHarness.Answering(1));
            await first.Host.MustPut(CatalogHarness.Answering(2));
            await first.Host.MustPut(CatalogHarness.Answering(3), activate: false);
            await first.Host.MustPut("async IAsyncEnumerable<Chunk> HandleRequest(Request request) { yield return new Chunk { Tokens = new[] { Options.Get(\"n\", 0) } }; }", "side", options: new Dictionary<string, string> { ["n"] = "7" });
            await first.Host.Label("candidate", 3);
            await first.Host.Activate("main", 3, share: 100 - 1e-9);
            await first.Host.Put("nonsense");
        }

        await using var again = await Start();
        Assert.Equal([3], await again.Host.Serve(new FakeRequest(1)));
        Assert.Equal([3], await again.Host.Serve(spec: "main@candidate"));
        Assert.Equal([7], await again.Host.Serve(spec: "side"));
        Assert.Equal(2, (await again.Host.Rollback()).Version);
        Assert.Equal([2], await again.Host.Serve());
        Assert.Equal(1, (await again.Host.Rollback()).Version);
        Assert.Equal([1], await again.Host.Serve());
        var main = again.Host.Router();
        Assert.Equal([4, 3, 2, 1], main.Versions.Select(version => version.Version));
        Assert.Equal((RouterPhase.Rejected, "ann", "why"), (main.Versions[0].State, main.Versions[0].Author, main.Versions[0].Message));
        Assert.Equal("CS0103", (await again.Host.Catalog.Get("main", VersionSelector.Of(4), CancellationToken.None)).Diagnostics[0].Id);
        Assert.Equal(5, (await again.Host.MustPut(CatalogHarness.Answering(5))).Version);
        Assert.False((await again.Host.Put(CatalogHarness.Answering(2))).Created);
    }

    [Fact]
    public async Task A_number_is_not_given_again_after_its_version_was_deleted()
    {
        await using (var first = await Start())
        {
            await first.Host.MustPut(CatalogHarness.Answering(1));
            await first.Host.MustPut(CatalogHarness.Answering(2), activate: false);
            await first.Host.Delete("main", 2);
        }

        await using var again = await Start();
        Assert.Equal(3, (await again.Host.MustPut(CatalogHarness.Answering(2))).Version);
    }

    [Fact]
    public async Task A_version_that_no_longer_loads_is_told_and_the_good_one_before_serves()
    {
        // What the scripts read at load has changed while the host was down.
        const string Picky = "void OnLoad() { if (Options.Get(\"allowed\", \"\") != \"yes\") throw new Exception(\"not allowed\"); }\n";
        await using (var first = await Start(allowed: "yes"))
        {
            await first.Host.MustPut(CatalogHarness.Answering(1));
            await first.Host.MustPut(Picky + CatalogHarness.Answering(2));
            await first.Host.MustPut(Picky + CatalogHarness.Answering(3));
        }

        await using (var worse = await Start(allowed: "no"))
        {
            Assert.Equal([1], await worse.Host.Serve());
            Assert.Equal(1, worse.Host.Router().ActiveVersion);
            Assert.Equal(RouterPhase.Rejected, worse.Host.Router().Versions[0].State);
            Assert.Contains("main@3 does not load any more; main@1 serves", worse.Host.Catalog.Warnings);
            Assert.Contains(worse.Host.Loggers.Lines, line => line.Contains("not allowed", StringComparison.Ordinal));
        }

        // Nothing was decided by that: once it loads again, it serves.
        await using var better = await Start(allowed: "yes");
        Assert.Equal([3], await better.Host.Serve());
    }

    [Fact]
    public async Task A_file_saved_while_the_host_was_down_serves_and_an_unchanged_one_undoes_nothing()
    {
        var scripts = Directory.CreateTempSubdirectory("scriptedserve-").FullName;
        var file = Path.Combine(scripts, "main.csx");
        var other = Path.Combine(scripts, "other.csx");
        try
        {
            await File.WriteAllTextAsync(file, CatalogHarness.Answering(1));
            await File.WriteAllTextAsync(other, CatalogHarness.Answering(1));
            await using (var first = await Start(scripts))
            {
                await first.Look();
                await first.Host.MustPut(CatalogHarness.Answering(2));
                Assert.Equal([2], await first.Host.Serve());
            }

            await using (var second = await Start(scripts))
            {
                await second.Look();
                Assert.Equal([2], await second.Host.Serve());
                Assert.Equal(2, second.Host.Router().Versions.Count);
                await second.Host.Rollback();
            }

            await File.WriteAllTextAsync(file, CatalogHarness.Answering(3));
            File.Delete(other);
            await using (var third = await Start(scripts))
            {
                await third.Look();
                Assert.Equal([3], await third.Host.Serve());

                // Gone at two looks, as while the host is up.
                await third.Look();
                Assert.Null(third.Host.Router("other").ActiveVersion);
            }

            // Back to a text of before: no new version, and it serves.
            await File.WriteAllTextAsync(file, CatalogHarness.Answering(1));
            await using var last = await Start(scripts);
            await last.Look();
            Assert.Equal((1, 3), (last.Host.Router().ActiveVersion, last.Host.Router().Versions.Count));
        }
        finally
        {
            Directory.Delete(scripts, recursive: true);
        }
    }

    [Fact]
    public async Task With_no_usable_script_the_emergency_router_serves_until_one_is()
    {
        await using (var first = await Start(allowed: "yes"))
        {
            await first.Host.MustPut("void OnLoad() { if (Options.Get(\"allowed\", \"\") != \"yes\") throw new Exception(\"not allowed\"); }\n" + CatalogHarness.Answering(1));
        }

        await using var again = await Start(allowed: "no");
        Assert.Throws<RouterNotFoundException>(() => again.Host.Catalog.Acquire(null));
        again.Host.Catalog.AllowEmergency();
        Assert.Equal([1, 2, 3], await again.Host.Serve(new FakeRequest(4)));
        using (var lease = again.Host.Catalog.Acquire("emergency@0"))
        {
            Assert.Equal(("emergency", 0), (lease.Name, lease.Version));
        }

        Assert.Contains(again.Host.Catalog.Warnings, warning => warning.StartsWith("The built-in emergency router serves", StringComparison.Ordinal));
        await again.Host.MustPut(CatalogHarness.Answering(2));
        Assert.Equal([2], await again.Host.Serve());
        Assert.Empty(again.Host.Catalog.Warnings);
        Assert.Throws<RouterNotFoundException>(() => again.Host.Catalog.Acquire("emergency@0"));
    }

    [Fact]
    public async Task Only_so_many_unused_versions_are_remembered()
    {
        await using (var first = await Start(history: 3))
        {
            for (var token = 1; token <= 10; token++)
            {
                await first.Host.MustPut(CatalogHarness.Answering(token));
            }
        }

        await using var again = await Start(history: 3);
        Assert.Equal([10, 9, 8, 7, 6, 5, 4], again.Host.Router().Versions.Select(version => version.Version));
        Assert.Equal(9, (await again.Host.Rollback()).Version);
    }

    [Fact]
    public async Task A_store_belongs_to_one_host_and_to_its_user()
    {
        await using var first = await SqliteRouterStore.Open(_data, TimeProvider.System);
        var refused = await Assert.ThrowsAsync<RouterStoreInUseException>(() => SqliteRouterStore.Open(_data, TimeProvider.System));
        Assert.Contains(_data, refused.Message, StringComparison.Ordinal);
        Assert.Contains("--data", refused.Message, StringComparison.Ordinal);
        if (!OperatingSystem.IsWindows())
        {
            foreach (var file in Directory.GetFiles(_data))
            {
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
            }
        }
    }

    [Fact]
    public async Task A_damaged_store_and_one_of_a_later_version_are_refused_by_name()
    {
        await (await SqliteRouterStore.Open(_data, TimeProvider.System)).DisposeAsync();
        var file = Path.Combine(_data, SqliteRouterStore.FileName);
        using (var connection = new SqliteConnection($"Data Source={file};Pooling=false"))
        {
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText = "UPDATE router_store SET version = 99";
            command.ExecuteNonQuery();
        }

        var later = await Assert.ThrowsAsync<RouterStoreException>(() => SqliteRouterStore.Open(_data, TimeProvider.System));
        Assert.Contains($"{file} has format 99", later.Message, StringComparison.Ordinal);

        await File.WriteAllBytesAsync(file, [.. "SQLite format 3\0"u8.ToArray(), .. new byte[5000]]);
        var damaged = await Assert.ThrowsAsync<RouterStoreException>(() => SqliteRouterStore.Open(_data, TimeProvider.System));
        Assert.Contains($"{file} is damaged", damaged.Message, StringComparison.Ordinal);
        Assert.Contains("move it away", damaged.Message, StringComparison.Ordinal);
    }

    private async Task<Started> Start(string? scripts = null, string? allowed = null, int history = 50)
    {
        var store = await SqliteRouterStore.Open(_data, TimeProvider.System);
        var host = new CatalogHarness(new ScriptLimits { History = history }, folder: scripts, store: store);
        if (allowed is not null)
        {
            host.Configured["main"] = new Dictionary<string, string> { ["allowed"] = allowed };
        }

        await host.Catalog.Restore(CancellationToken.None);
        var watcher = new ScriptWatcher(host.Compiler.Folder, host.Catalog, host.Limits, new ScriptWatcherOptions(), TimeProvider.System, host.Loggers.CreateLogger<ScriptWatcher>());
        return new Started(host, watcher, store);
    }

    private sealed record Started(CatalogHarness Host, ScriptWatcher Watcher, SqliteRouterStore Store) : IAsyncDisposable
    {
        public Task Look() => Watcher.Look(CancellationToken.None);

        public async ValueTask DisposeAsync()
        {
            await Watcher.DisposeAsync();
            await Host.DisposeAsync();
            await Store.DisposeAsync();
        }
    }
}
