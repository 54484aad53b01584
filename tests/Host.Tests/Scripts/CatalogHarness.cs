using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Store;
using ScriptedServe.Scripting;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>A catalog over a fake fleet and a folder of its own.</summary>
internal sealed class CatalogHarness : IAsyncDisposable
{
    public const string Good = "IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.LeastLoaded().StartGenerate(request);";

    public CatalogHarness(ScriptLimits? limits = null, FakeFleet? fleet = null, TimeProvider? time = null, string defaultRouter = "main", string? folder = null, IRouterStore? store = null)
    {
        Limits = limits ?? new ScriptLimits();
        Fleet = fleet ?? FakeFleet.PrefillAndDecode();
        Time = time ?? TimeProvider.System;
        Root = folder ?? Directory.CreateTempSubdirectory("scriptedserve-").FullName;
        Events = new HostEvents(Time, capacity: 4096);
        Store = store ?? new MemoryRouterStore(Time);
        Compiler = new ScriptCompiler(new ScriptFolder(Root), Limits, ScriptApiRules.Default);
        Globals = new RouterGlobalsSource(Fleet, Traffic, Time, Loggers, name => Configured.GetValueOrDefault(name, new Dictionary<string, string>()));
        Catalog = new RouterCatalog(Compiler, Limits, Globals.For, defaultRouter, Time, TimeProvider.System, Events, Loggers.CreateLogger<RouterCatalog>(), Store);
        _ownsRoot = folder is null;
    }

    private readonly bool _ownsRoot;

    public ScriptLimits Limits { get; }

    public FakeFleet Fleet { get; }

    public FakeTraffic Traffic { get; } = new();

    public TimeProvider Time { get; }

    public string Root { get; }

    public HostEvents Events { get; }

    public ScriptCompiler Compiler { get; }

    public RouterGlobalsSource Globals { get; }

    public IRouterStore Store { get; }

    public RouterCatalog Catalog { get; }

    public LogLines Loggers { get; } = new();

    public Dictionary<string, IReadOnlyDictionary<string, string>> Configured { get; } = [];

    public Task<RouterPutResult> Put(string text, string name = "main", bool activate = true, IReadOnlyDictionary<string, string>? options = null) =>
        Catalog.Put(new RouterSubmission(name, text, new RouterOrigin("ann", "why"), activate, options), CancellationToken.None);

    /// <summary>Puts a script that must be accepted.</summary>
    public async Task<RouterVersionInfo> MustPut(string text, string name = "main", bool activate = true, IReadOnlyDictionary<string, string>? options = null)
    {
        var result = await Put(text, name, activate, options);
        Assert.True(result.Accepted, string.Join('\n', result.Diagnostics));
        return result.Version;
    }

    /// <summary>Puts a router of this repository's scripts folder, which must compile without a warning.</summary>
    /// <param name="name">With its folder, without <c>.csx</c>.</param>
    public async Task PutShipped(string name, IReadOnlyDictionary<string, string>? options = null)
    {
        var result = await Put(await File.ReadAllTextAsync(TestPaths.InRepository("scripts", name + ".csx")), name.Split('/')[^1], options: options);
        Assert.Empty(result.Diagnostics);
        Assert.Equal(RouterPhase.Active, result.Version.State);
    }

    public Task<RouterVersionInfo> Activate(string name, int version, double share = 100, string? header = null, IReadOnlyDictionary<string, string>? options = null) =>
        Catalog.Activate(name, VersionSelector.Of(version), new RouterActivation(new RouterCause("bob", "because"), share, header, options), CancellationToken.None);

    public Task<RouterVersionInfo> Rollback(string name = "main", int? onlyFrom = null) => Catalog.Rollback(name, new RouterCause("bob", "too slow"), onlyFrom, CancellationToken.None);

    public Task<RouterVersionInfo> Label(string label, int version, string name = "main") =>
        Catalog.SetLabel(name, label, VersionSelector.Of(version), RouterCause.None, CancellationToken.None);

    public Task Delete(string name, int? version) =>
        Catalog.Delete(name, version is { } number ? VersionSelector.Of(number) : null, RouterCause.None, CancellationToken.None);

    public RouterInfo Router(string name = "main") => Catalog.List().Single(router => router.Name == name);

    /// <summary>The tokens a router answers a request with. When this returns it has gone as far as it can at once: it begins on a thread of the pool, where routers run.</summary>
    public Task<List<int>> Serve(Request? request = null, string? spec = null)
    {
        Task<List<int>>? serving = null;
        Task.Run(() => { serving = Answer(request, spec); }).GetAwaiter().GetResult();
        return serving!;
    }

    private async Task<List<int>> Answer(Request? request, string? spec)
    {
        using var lease = Catalog.Acquire(spec, request?.Id ?? "", request?.Headers);
        var tokens = new List<int>();
        await foreach (var chunk in lease.HandleRequest(request ?? new FakeRequest(10)))
        {
            tokens.AddRange(chunk.Tokens.ToArray());
        }

        return tokens;
    }

    /// <summary>A router that answers with one token.</summary>
    public static string Answering(int token) => $$"""
        async IAsyncEnumerable<Chunk> HandleRequest(Request request)
        {
            await Task.Yield();
            yield return new Chunk { Tokens = new[] { {{token}} }, FinishReason = FinishReason.Stop };
        }
        """;

    /// <summary>Ends when a line that holds a text has been logged.</summary>
    public Task Logged(string text) => Loggers.WaitFor(text).WaitAsync(TimeSpan.FromSeconds(30), TimeProvider.System);

    public async ValueTask DisposeAsync()
    {
        await Catalog.DisposeAsync();
        if (_ownsRoot)
        {
            Directory.Delete(Root, recursive: true);
        }
    }
}

/// <summary>Keeps what is logged.</summary>
internal sealed class LogLines : ILoggerFactory
{
    private readonly Lock _lock = new();
    private readonly List<(string Text, TaskCompletionSource Heard)> _waiting = [];

    public ConcurrentQueue<string> Lines { get; } = new();

    public Task WaitFor(string text)
    {
        lock (_lock)
        {
            var heard = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            if (Lines.Any(line => line.Contains(text, StringComparison.Ordinal)))
            {
                heard.SetResult();
            }
            else
            {
                _waiting.Add((text, heard));
            }

            return heard.Task;
        }
    }

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public ILogger CreateLogger(string categoryName) => new Logger(this);

    public void Dispose()
    {
    }

    private void Add(string line)
    {
        lock (_lock)
        {
            Lines.Enqueue(line);
            foreach (var (text, heard) in _waiting)
            {
                if (line.Contains(text, StringComparison.Ordinal))
                {
                    heard.TrySetResult();
                }
            }
        }
    }

    private sealed class Logger(LogLines lines) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            lines.Add($"{logLevel}: {formatter(state, exception)}");
    }
}
