using Microsoft.Extensions.Logging;
using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>With real files and the file system's own reports; each wait is for an event of the catalog or a line of the log.</summary>
public sealed class ScriptWatcherTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task A_saved_file_serves_and_a_broken_one_changes_nothing()
    {
        await using var folder = new Watched();
        folder.Write("main.csx", CatalogHarness.Answering(1));
        await folder.Start();
        Assert.Equal([1], await folder.Harness.Serve());

        await folder.Until("router.activated", "main@2", () => folder.Write("main.csx", CatalogHarness.Answering(2)));
        Assert.Equal([2], await folder.Harness.Serve());

        await folder.Until("router.rejected", "main@3", () => folder.Write("main.csx", "IAsyncEnumerable<Chunk> HandleRequest(Request request) =>\n    nonsense;"));
        Assert.Equal([2], await folder.Harness.Serve());
        await folder.Harness.Logged("main.csx(2,5): error CS0103: The name 'nonsense' does not exist in the current context\n        nonsense;\n        ^");

        // As editors save: a new file renamed over the old one.
        await folder.Until("router.activated", "main@4", () =>
        {
            folder.Write(".main.csx.swp", CatalogHarness.Answering(4));
            File.Move(folder.Path(".main.csx.swp"), folder.Path("main.csx"), overwrite: true);
        });
        Assert.Equal([4], await folder.Harness.Serve());
    }

    [Fact]
    public async Task A_file_that_fails_to_be_taken_over_holds_up_no_other_and_not_the_start()
    {
        await using var folder = new Watched();
        folder.Harness.Configured["bad"] = null!;
        folder.Write("bad.csx", CatalogHarness.Good);
        folder.Write("main.csx", CatalogHarness.Answering(1));
        await folder.Start();
        Assert.Equal([1], await folder.Harness.Serve());
        await folder.Until("router.activated", "main@2", () => folder.Write("main.csx", CatalogHarness.Answering(2)));
        await folder.Harness.Logged("Error: bad.csx could not be taken over");
    }

    [Fact]
    public async Task A_save_without_a_change_makes_no_version()
    {
        await using var folder = new Watched();
        folder.Write("main.csx", CatalogHarness.Answering(1));
        await folder.Start();
        folder.Write("main.csx", CatalogHarness.Answering(1));
        await folder.Until("router.activated", "other@1", () => folder.Write("other.csx", CatalogHarness.Good));
        Assert.Single(folder.Harness.Catalog.List().Single(router => router.Name == "main").Versions);
    }

    [Fact]
    public async Task A_change_of_a_neighbour_recompiles_those_that_load_it()
    {
        await using var folder = new Watched();
        folder.Write("_token.csx", "int Token() => 1;");
        folder.Write("main.csx", "#load \"_token.csx\"\nasync IAsyncEnumerable<Chunk> HandleRequest(Request request) { yield return new Chunk { Tokens = new[] { Token() } }; }");
        folder.Write("other.csx", CatalogHarness.Good);
        await folder.Start();
        await folder.Until("router.activated", "main@2", () => folder.Write("_token.csx", "int Token() => 2;"));
        Assert.Equal([2], await folder.Harness.Serve());
        Assert.Equal(["main", "other"], folder.Harness.Catalog.List().Select(router => router.Name));
        Assert.Single(folder.Harness.Catalog.List()[1].Versions);
    }

    [Fact]
    public async Task A_swapped_link_to_a_folder_brings_all_its_files()
    {
        // As Kubernetes does with a ConfigMap: files link to ..data/, which links to a folder and is renamed over.
        await using var folder = new Watched();
        folder.Write("..v1/main.csx", CatalogHarness.Answering(1));
        Directory.CreateSymbolicLink(folder.Path("..data"), "..v1");
        File.CreateSymbolicLink(folder.Path("main.csx"), "..data/main.csx");
        await folder.Start();
        Assert.Equal([1], await folder.Harness.Serve());
        await folder.Until("router.activated", "main@2", () =>
        {
            folder.Write("..v2/main.csx", CatalogHarness.Answering(2));
            Directory.CreateSymbolicLink(folder.Path("..data_tmp"), "..v2");
            Directory.Delete(folder.Path("..data"));
            Directory.Move(folder.Path("..data_tmp"), folder.Path("..data"));
        });
        Assert.Equal([2], await folder.Harness.Serve());
    }

    [Fact]
    public async Task A_deleted_file_retires_its_router_unless_something_depends_on_it()
    {
        await using var folder = new Watched();
        folder.Write("main.csx", CatalogHarness.Answering(1));
        folder.Write("side.csx", CatalogHarness.Answering(2));
        await folder.Start();
        await folder.Until("router.deleted", "side", () => File.Delete(folder.Path("side.csx")));
        Assert.Throws<RouterNotFoundException>(() => folder.Harness.Catalog.Acquire("side"));
        File.Delete(folder.Path("main.csx"));
        await folder.Harness.Logged("main.csx is gone; the loaded version of main goes on serving: Router main is the default router");
        Assert.Equal([1], await folder.Harness.Serve());
    }

    private sealed class Watched : IAsyncDisposable
    {
        private readonly ScriptWatcher _watcher;
        private readonly string _root = Directory.CreateTempSubdirectory("scriptedserve-").FullName;

        public Watched()
        {
            Harness = new CatalogHarness(folder: _root);
            var options = new ScriptWatcherOptions { QuietMs = 20, RescanMs = 500 };
            _watcher = new ScriptWatcher(Harness.Compiler.Folder, Harness.Catalog, Harness.Limits, options, TimeProvider.System, Harness.Loggers.CreateLogger<ScriptWatcher>());
        }

        public CatalogHarness Harness { get; }

        public Task Start() => _watcher.StartAsync(CancellationToken.None);

        public string Path(string name) => System.IO.Path.Combine(_root, name);

        public void Write(string name, string text)
        {
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(Path(name))!);
            File.WriteAllText(Path(name), text);
        }

        /// <summary>Does something and waits for an event.</summary>
        public async Task Until(string kind, string subject, Action action)
        {
            using var patience = new CancellationTokenSource(Patience, TimeProvider.System);
            var events = Harness.Events.Listen(after: null, patience.Token);
            action();
            await foreach (var happened in events)
            {
                if (happened.Kind == kind && happened.Subject == subject)
                {
                    return;
                }
            }
        }

        public async ValueTask DisposeAsync()
        {
            await _watcher.DisposeAsync();
            await Harness.DisposeAsync();
            Directory.Delete(_root, recursive: true);
        }
    }
}
