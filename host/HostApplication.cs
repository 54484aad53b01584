using System.Net;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging.Console;
using ScriptedServe.Contracts;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Dashboard;
using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Engines.Supervision;
using ScriptedServe.Host.Logging;
using ScriptedServe.Host.Metrics;
using ScriptedServe.Host.Models;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Host.Options;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Figures;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Guarding;
using ScriptedServe.Host.Scripts.Shadowing;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host;

/// <summary>
/// The host, put together. It listens before it can serve: until engines answer and the default router is active,
/// <c>/ready</c> and <c>/v1</c> say what is missing.
/// </summary>
internal sealed class HostApplication : IAsyncDisposable
{
    /// <summary>Above the API's own limit, which answers with an OpenAI error.</summary>
    private const long MaxBodyBytes = 16 << 20;

    /// <summary>For requests under way when the host is told to stop.</summary>
    private static readonly TimeSpan StopGrace = TimeSpan.FromSeconds(5);

    /// <summary>Between two attempts to read a store that went away while the host started.</summary>
    private static readonly TimeSpan StoreRetry = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan Glance = TimeSpan.FromMilliseconds(50);

    private readonly ServeOptions options;
    private readonly TimeProvider time;
    private readonly WebApplication app;
    private readonly CancellationTokenSource requestsEnd;
    private readonly HostEvents events;
    private readonly EngineFleet fleet;
    private readonly LocalEngines? local;
    private readonly IRouterStore store;
    private readonly CompilerProcess compiler;
    private readonly RouterCatalog routers;
    private readonly ScriptWatcher watcher;
    private readonly ILoggerFactory loggers;
    private readonly RouterGuard guard;
    private readonly ShadowRouters shadows;
    private volatile Task? watching;
    private Task guarding = Task.CompletedTask;
    private Task warming;
    private volatile bool hasStarted;
    private readonly HostMetrics metrics;
    private readonly Readiness readiness;
    private readonly ITimer cutOff;
    private Task counting = Task.CompletedTask;
    private volatile bool hasBeenReady;

    private HostApplication(ServeOptions options, IConfiguration file, ModelFolder model, string modelFolder, string scriptsFolder, IRouterStore store, ILoggerFactory loggers, TimeProvider time)
    {
        this.store = store;
        this.loggers = loggers;
        this.options = options;
        this.time = time;
        ModelId = model.Facts.Id;
        ScriptsFolder = scriptsFolder;
        requestsEnd = new CancellationTokenSource();
        cutOff = time.CreateTimer(static end => ((CancellationTokenSource)end!).Cancel(), requestsEnd, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

        events = new HostEvents(time);
        var settings = new FleetSettings { CallTimeout = options.CallTimeout, AlsoModels = options.AlsoModels };
        var expected = FleetModel.Expected(model.Facts.Id, model.Facts.VocabSize, model.Facts.ContextLength);
        fleet = new EngineFleet(new WireConnector(Token, time), settings, time, loggers.CreateLogger<EngineFleet>(), expected);
        fleet.Changed += Tell;
        local = options.Engines == 0 ? null : new LocalEngines(
            fleet,
            new ProcessLauncher(EngineBinary.Locate()),
            new LocalEngineSettings(options.Engines, modelFolder, options.Devices, options.Threads, options.ClusterSecretFile, options.PassedOn) { Processors = options.Processors },
            new SupervisionSettings { AnswerTimeout = options.EngineStartTimeout },
            time,
            loggers.CreateLogger<LocalEngines>());

        var traffic = new TrafficStats(time);
        var traces = new TraceStore(options.Traces);
        var figures = new FigureBook(time, TimeSpan.FromSeconds(options.Guard.WindowSeconds));
        metrics = new HostMetrics(fleet, traces, figures);
        var limits = options.ScriptLimits;
        var folder = new ScriptFolder(ScriptsFolder);
        var globals = new RouterGlobalsSource(fleet.Scripts, traffic, time, loggers, name => RouterOptions(file, name));
        compiler = new CompilerProcess(folder, limits, options.ScriptApi, TimeProvider.System, loggers.CreateLogger<CompilerProcess>());
        routers = new RouterCatalog(compiler, limits, globals.For, options.Router, time, TimeProvider.System, events, loggers.CreateLogger<RouterCatalog>(), store);

        // The compiler's process starts while this one does.
        warming = routers.WarmUp(compiles: 1, requestsEnd.Token);
        watcher = new ScriptWatcher(folder, routers, limits, options.ScriptWatcher, time, loggers.CreateLogger<ScriptWatcher>());
        guard = new RouterGuard(new GuardedCatalog(routers), figures, options.Guard, events, time, loggers.CreateLogger<RouterGuard>());
        fleet.Changed += _ => guard.EnginesChanged();
        shadows = new ShadowRouters(routers, limits, fleet.Scripts, traffic, time, TimeProvider.System, events);
        var runner = new RequestRunner(routers, fleet, traffic, traces, new RequestObservers(metrics, figures, guard), new RequestSettings { Timeout = options.RequestTimeout, SubCalls = limits.SubCalls }, time, requestsEnd.Token, shadows);
        readiness = new Readiness(() => routers.Warnings, WhyStillStarting, WhyNoEngine, WhyNoRouter);

        // Instances, which the container does not dispose: they end in an order of their own.
        var builder = WebApplication.CreateSlimBuilder();
        builder.Services
            .AddSingleton(loggers)
            .AddSingleton(time)
            .AddSingleton(model.Facts)
            .AddSingleton(model.Tokenizer)
            .AddSingleton<IRequestRunner>(runner)
            .AddSingleton(routers)
            .AddSingleton(new RouterListing(routers, figures, guard, shadows))
            .AddSingleton(limits)
            .AddOpenAi(new OpenAiOptions { ApiKey = options.ApiKey, RequestTimeout = options.RequestTimeout })
            .Configure<Microsoft.Extensions.Hosting.HostOptions>(host => host.ShutdownTimeout = StopGrace * 2);
        if (model.Template is not null)
        {
            builder.Services.AddSingleton(model.Template);
        }

        // What is written goes to the socket on the thread that writes it.
        builder.WebHost.UseSockets(sockets => sockets.UnsafePreferInlineScheduling = true);
        builder.WebHost.ConfigureKestrel(kestrel => Configure(kestrel, options));
        app = builder.Build();
        app.Use(LeaveSocketThreadAsync);
        app.Use(RefuseUntilReadyAsync);
        app.UseErrorObjects();
        app.UseAdminAuth(new AdminAuth(options.AdminToken));
        app.MapOpenAi();
        app.MapRouterAdmin();
        app.MapShadowAdmin(shadows);
        app.MapEngineAdmin(fleet, local);
        app.MapRequestAdmin(traces);
        app.MapEventAdmin(events, app.Lifetime.ApplicationStopping);
        app.MapHealth(readiness, metrics);
        app.MapDashboard();
        app.Lifetime.ApplicationStopping.Register(() =>
        {
            local?.StopRestarting();
            cutOff.Change(StopGrace, Timeout.InfiniteTimeSpan);
        });
    }

    public string ModelId { get; }

    public string ScriptsFolder { get; }

    /// <summary>As a browser on this machine reaches it. Valid once started.</summary>
    public string Url => app.Urls.First().Replace("[::]", "localhost", StringComparison.Ordinal).Replace("0.0.0.0", "localhost", StringComparison.Ordinal);

    public string DefaultRouter
    {
        get
        {
            using var lease = routers.Acquire(null);
            return $"{lease.Name}@{lease.Version}";
        }
    }

    public int RouterCount => routers.List().Count;

    public IEnumerable<EngineView> Engines => fleet.Members.Select(EngineView.Of);

    /// <summary>Completes when the process was told to stop (SIGINT, SIGTERM).</summary>
    public Task Stopped => app.WaitForShutdownAsync();

    /// <exception cref="ModelFolderException">The model cannot be served.</exception>
    /// <exception cref="EngineStartException">The engine's program is not there.</exception>
    /// <exception cref="RouterStoreException">The store of routers cannot be opened.</exception>
    public static async Task<HostApplication> BuildAsync(ServeOptions options, IConfiguration file, TimeProvider time)
    {
        var folder = options.Model ?? HostFolders.BuiltInModel;
        var model = ModelFolder.Load(folder, time);
        var scripts = options.Scripts ?? HostFolders.Scripts(Directory.GetCurrentDirectory(), AppContext.BaseDirectory);
        var loggers = LoggerFactory.Create(logging => ConfigureLogging(logging, time));
        IRouterStore? store = null;
        try
        {
            store = await RouterStores.Open(options, scripts, time, loggers.CreateLogger("ScriptedServe.Host.Scripts.Store"));
            return new HostApplication(options, file, model, folder, scripts, store, loggers, time);
        }
        catch
        {
            await (store?.DisposeAsync() ?? ValueTask.CompletedTask);
            loggers.Dispose();
            throw;
        }
    }

    /// <summary>Listens at once; engines and routers come up meanwhile.</summary>
    /// <exception cref="IOException">The address cannot be listened on.</exception>
    public async Task StartAsync()
    {
        await app.StartAsync();
        counting = CountEventsAsync();
        local?.Start();
        foreach (var url in options.EngineUrls)
        {
            await fleet.AttachAsync(url, id: null, labels: [], mustAnswer: false, CancellationToken.None);
        }

        watching = BringUpRoutersAsync();
        guarding = GuardAsync();
    }

    /// <summary>Completes when requests can be served; not if the host stops before.</summary>
    public async Task WaitUntilReadyAsync()
    {
        while (readiness.Reasons().Count > 0)
        {
            await Task.Delay(Glance, time, app.Lifetime.ApplicationStopping);
        }
    }

    /// <summary>Requests end first, then routers, then engines.</summary>
    public async ValueTask DisposeAsync()
    {
        await app.StopAsync();
        await requestsEnd.CancelAsync();
        await (watching ?? Task.CompletedTask).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await warming.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await guarding;
        await shadows.DisposeAsync();
        await watcher.DisposeAsync();
        await routers.DisposeAsync();
        await compiler.DisposeAsync();
        await store.DisposeAsync();
        if (local is not null)
        {
            await local.DisposeAsync();
        }

        await fleet.DisposeAsync();
        await counting;
        await app.DisposeAsync();
        await cutOff.DisposeAsync();
        requestsEnd.Dispose();
        loggers.Dispose();
    }

    private async Task BringUpRoutersAsync()
    {
        while (!await TryRestoreAsync())
        {
            await Task.Delay(StoreRetry, time, requestsEnd.Token);
        }

        await watcher.StartAsync(requestsEnd.Token);
        routers.AllowEmergency();
        await warming;
        warming = routers.WarmUp(options.WarmUpCompiles, requestsEnd.Token);
    }

    private async Task<bool> TryRestoreAsync()
    {
        try
        {
            await routers.Restore(requestsEnd.Token);
            return true;
        }
        catch (RouterStoreException e)
        {
            loggers.CreateLogger<RouterCatalog>().LogWarning("{Error} Trying again.", e.Message);
            return false;
        }
    }

    private static void ConfigureLogging(ILoggingBuilder logging, TimeProvider time)
    {
        logging.Services.AddSingleton(time);
        logging
            .AddConsole(console => console.FormatterName = LineFormatter.FormatterName)
            .AddConsoleFormatter<LineFormatter, ConsoleFormatterOptions>()
            .AddFilter("Microsoft", LogLevel.Warning)

            // Says with a stack trace what the command says in a line: the address is taken.
            .AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None)
            .AddFilter("System", LogLevel.Warning);
    }

    private static void Configure(KestrelServerOptions kestrel, ServeOptions options)
    {
        kestrel.AddServerHeader = false;
        kestrel.Limits.MaxRequestBodySize = MaxBodyBytes;

        // A client may read its stream as slowly as it likes.
        kestrel.Limits.MinResponseDataRate = null;
        Listen(kestrel, options);
    }

    private static void Listen(KestrelServerOptions kestrel, ServeOptions options)
    {
        if (options.Host == "*")
        {
            kestrel.ListenAnyIP(options.Port);
        }
        else if (IPAddress.TryParse(options.Host, out var address))
        {
            kestrel.Listen(address, options.Port);
        }
        else if (options.Port == 0)
        {
            // Of two loopback addresses no free port can be had at once.
            kestrel.Listen(IPAddress.Loopback, 0);
        }
        else
        {
            kestrel.ListenLocalhost(options.Port);
        }
    }

    private static Dictionary<string, string> RouterOptions(IConfiguration file, string router) =>
        file.GetSection($"ScriptedServe:RouterOptions:{router}").GetChildren().Where(option => option.Value is not null).ToDictionary(option => option.Key, option => option.Value!);

    private string? Token()
    {
        var path = options.ClusterSecretFile ?? ClusterSecret.DefaultPath;
        try
        {
            return File.Exists(path) ? ClusterSecret.Read(path).BearerToken : null;
        }
        catch (Exception e) when (e is FormatException or IOException or UnauthorizedAccessException)
        {
            throw new FleetException(FleetProblem.BadSecret, $"The cluster's secret cannot be used ({HostSettings.ClusterSecretFile.Flag}, {path}): {e.Message.TrimEnd('.')}.");
        }
    }

    private void Tell(FleetEvent change)
    {
        var kind = change.To switch
        {
            EngineState.Serving => "engine.up",
            EngineState.Starting => "engine.starting",
            EngineState.Draining => "engine.draining",
            _ => "engine.down",
        };
        events.Publish(kind, change.Engine, $"{change.Engine} is {change.To.ToString().ToLowerInvariant()}{(change.Reason is { } reason ? $": {reason}" : "")}");
    }

    /// <summary>
    /// The first readiness waits for every router and every local engine, so that a first request finds the fleet that was asked for.
    /// What fails or dies later does not take it back.
    /// </summary>
    private string? WhyStillStarting()
    {
        if (hasStarted)
        {
            return null;
        }

        if (watching is not { IsCompleted: true })
        {
            return $"the routers of {ScriptsFolder} and {store.Description} are being loaded";
        }

        if (fleet.Members.FirstOrDefault(member => member.State == EngineState.Starting && local?.Contains(member.Id) == true) is { } starting)
        {
            return $"engine {starting.Id} is starting";
        }

        hasStarted = true;
        return null;
    }

    private string? WhyNoEngine() => fleet.ServingCount > 0 ? null : fleet.WhyEmpty();

    private string? WhyNoRouter()
    {
        try
        {
            routers.Acquire(null).Dispose();
            return null;
        }
        catch (RouterNotFoundException e)
        {
            return $"{e.Message} (scripts are in {ScriptsFolder})";
        }
    }

    /// <summary>The API under /v1 does so itself, once it has read the body.</summary>
    private static async Task LeaveSocketThreadAsync(HttpContext context, RequestDelegate next)
    {
        if (!context.Request.Path.StartsWithSegments("/v1", StringComparison.Ordinal))
        {
            await PoolThread.Take();
        }

        await next(context);
    }

    /// <summary>While the host comes up, clients are told to come back rather than that their router does not exist.</summary>
    private Task RefuseUntilReadyAsync(HttpContext context, RequestDelegate next)
    {
        if (hasBeenReady || !context.Request.Path.StartsWithSegments("/v1", StringComparison.Ordinal))
        {
            return next(context);
        }

        var reasons = readiness.Reasons();
        if (reasons.Count == 0)
        {
            hasBeenReady = true;
            return next(context);
        }

        context.Response.Headers.RetryAfter = "1";
        var error = new { message = $"The server is starting: {string.Join("; ", reasons)}.", type = "server_error", param = (string?)null, code = "not_ready" };
        return Results.Json(new { error }, statusCode: StatusCodes.Status503ServiceUnavailable).ExecuteAsync(context);
    }

    /// <summary>What is active when the host has come up is not on trial.</summary>
    private async Task GuardAsync()
    {
        await watching!.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await guard.RunAsync(requestsEnd.Token);
    }

    private async Task CountEventsAsync()
    {
        try
        {
            await foreach (var happened in events.Listen(after: 0, requestsEnd.Token))
            {
                metrics.EventHappened(happened.Kind);
            }
        }
        catch (OperationCanceledException)
        {
            // The host ends.
        }
    }
}
