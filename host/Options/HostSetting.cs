using System.Text;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Guarding;

namespace ScriptedServe.Host.Options;

/// <summary>One option of the host: its names on the command line, in the environment and in appsettings.json, and what it means.</summary>
/// <param name="Name">Without dashes in front, as in <c>kv-memory</c>.</param>
/// <param name="ValueName">Stands for the value in the help.</param>
/// <param name="Description">Meaning, unit, default and range.</param>
/// <param name="Many">May be given several times; in the environment and in JSON text, values are separated by commas.</param>
internal sealed record HostSetting(string Name, string ValueName, string Description, bool Many = false)
{
    /// <summary><c>--kv-memory</c></summary>
    public string Flag => "--" + Name;

    /// <summary><c>SCRIPTEDSERVE_KV_MEMORY</c></summary>
    public string Variable => "SCRIPTEDSERVE_" + Name.Replace('-', '_').ToUpperInvariant();

    /// <summary><c>KvMemory</c>, in the section <c>ScriptedServe</c>.</summary>
    public string Key
    {
        get
        {
            var key = new StringBuilder();
            foreach (var word in Name.Split('-'))
            {
                key.Append(char.ToUpperInvariant(word[0])).Append(word.AsSpan(1));
            }

            return key.ToString();
        }
    }
}

/// <summary>All options of <c>serve</c>.</summary>
internal static class HostSettings
{
    public static readonly HostSetting Model = new("model", "DIR", "Folder of a Hugging Face model, or synthetic[:key=N,...], which has no weights (engine --help tells the keys). Default: the built-in model.");
    public static readonly HostSetting Engines = new("engines", "N", "Local engines to start, 0 to 64. Default: 2, or 0 where --engine is given.");
    public static readonly HostSetting Engine = new("engine", "URL", "An engine that runs on its own, http://host:port or unix:path. May be given several times.", Many: true);
    public static readonly HostSetting AlsoModel = new("also-model", "ID", "Another model that engines of the fleet may serve, with the same tokenizer; scripts choose. May be given several times.", Many: true);
    public static readonly HostSetting Device = new("device", "NAMES", "Devices of local engines, in turns: cpu, or cuda:0,cuda:1. Default: cpu.");
    public static readonly HostSetting CudaLibs = new("cuda-libs", "DIR", "Folder in which local engines look for CUDA's libraries first. Default: only where the engine looks by itself.");
    public static readonly HostSetting CudaGemm = new("cuda-gemm", "NAME", "What multiplies many rows with weights in local engines on GPUs: own or wgmma (H100, H200), the same bits however a request is served, or cublaslt, which gives that up. Default: the engine's.");
    public static readonly HostSetting TensorParallel = new("tensor-parallel", "N", "Ranks that each local engine divides the model among, 1 to 64. Default: 1.");
    public static readonly HostSetting Threads = new("threads", "N", "CPU threads of each local engine, a multiple of --tensor-parallel. Default: the processor's cores divided by the engines.");
    public static readonly HostSetting Processors = new("cpus", "LIST", "Processors that local engines compute on, as in 0,4-7 (Linux): shared out evenly in this order, a thread pinned to each, so that no two engines have the same one. Default: the threads go where the system puts them.");
    public static readonly HostSetting KvMemory = new("kv-memory", "SIZE", "Memory of each local engine's KV cache, as in 512MiB. Default: the engine's.");
    public static readonly HostSetting KvDataType = new("kv-dtype", "TYPE", "What local engines keep keys and values as: f32, bf16 or f16. Default: the engine's.");
    public static readonly HostSetting PageTokens = new("page-tokens", "N", "Tokens of a KV page in local engines. Default: the engine's.");
    public static readonly HostSetting Weights = new("weights", "NAME", "What local engines keep weights as in memory: auto (as in the folder), f32, bf16, int8, or fp8 (on GPUs). Default: the engine's.");
    public static readonly HostSetting WeightCache = new("weight-cache", "DIR", "Folder in which local engines keep packed weights, to have them in memory once together; off for none. Default: the engine's, in ~/.cache.");
    public static readonly HostSetting WeightCacheLimit = new("weight-cache-limit", "SIZE", "Most bytes of that folder. Default: the engine's.");
    public static readonly HostSetting ClusterSecretFile = new("cluster-secret-file", "FILE", "Secret that engines share to exchange KV, and that guards engines other machines can reach. Default: ~/.scriptedserve/cluster-secret.");
    public static readonly HostSetting Router = new("router", "NAME", "The router of requests that name none. Default: data_parallel.");
    public static readonly HostSetting Scripts = new("scripts", "DIR", "Folder of the routers' scripts. Default: ./scripts, else the nearest scripts/ above the program, else the copy beside it.");
    public static readonly HostSetting Data = new("data", "DIR", "Folder in which versions of routers and what is active are kept; 'none' keeps them in memory only. Default: .scriptedserve beside the scripts folder.");
    public static readonly HostSetting Store = new("store", "URL", "A PostgreSQL database in which several hosts keep their routers together, in place of --data: postgres://user:password@host:port/database, or a connection string of Npgsql.");
    public static readonly HostSetting Host = new("host", "ADDR", "Address to listen on. Default: 127.0.0.1. Any address other machines can reach needs --admin-token.");
    public static readonly HostSetting Port = new("port", "P", "Port to listen on, 0 to 65535; 0 is any free one. Default: 8000.");
    public static readonly HostSetting ApiKey = new("api-key", "KEY", "What clients of /v1 have to present. Default: none.");
    public static readonly HostSetting AdminToken = new("admin-token", "TOKEN", "What users of /admin have to present. Default: none, and then only this machine is let in.");
    public static readonly HostSetting RequestTimeout = new("request-timeout", "SECONDS", "Longest time of a request. Default: 600.");
    public static readonly HostSetting CallTimeout = new("call-timeout", "SECONDS", "Longest wait for an engine to answer a call, or between two chunks. Default: 120.");
    public static readonly HostSetting EngineStartTimeout = new("engine-start-timeout", "SECONDS", "Longest wait for a started engine to answer. Default: 120.");

    /// <summary>Limits on scripts; ranges are checked by <see cref="ScriptLimits"/>.</summary>
    public static readonly IReadOnlyList<(HostSetting Setting, Action<ScriptLimits, int> Set)> OfScripts =
    [
        (new("script-source-kib", "KIB", "Largest text of one script file. Default: 256."), static (limits, value) => limits.SourceBytes = value * 1024),
        (new("script-load-depth", "N", "How deep scripts may #load one another. Default: 8."), static (limits, value) => limits.LoadDepth = value),
        (new("script-load-files", "N", "Files one script may #load in all. Default: 64."), static (limits, value) => limits.LoadFiles = value),
        (new("script-budget-ms", "MS", "Thread time of a script between two awaits. Default: 250."), static (limits, value) => limits.BudgetMs = value),
        (new("script-budget-mib", "MIB", "Memory a script may allocate between two awaits. Default: 64."), static (limits, value) => limits.BudgetMib = value),
        (new("script-request-ms", "MS", "Thread time of a script for one request in all. Default: 10000."), static (limits, value) => limits.RequestMs = value),
        (new("script-subcalls", "N", "Calls on engines that one request may make. Default: 64."), static (limits, value) => limits.SubCalls = value),
        (new("script-async-calls", "N", "Async functions of a script that one request may have under way at once. Default: 1000."), static (limits, value) => limits.AsyncCalls = value),
        (new("script-cancel-grace-ms", "MS", "How long a cancelled script may go on. Default: 1000."), static (limits, value) => limits.CancelGraceMs = value),
        (new("script-load-ms", "MS", "How long a script may take to load or unload. Default: 5000."), static (limits, value) => limits.LoadMs = value),
        (new("plan-interval-ms", "MS", "Between two calls of PlanStrategy. Default: 1000."), static (limits, value) => limits.PlanIntervalMs = value),
        (new("plan-limit-ms", "MS", "How long one call of PlanStrategy may take. Default: 10000."), static (limits, value) => limits.PlanLimitMs = value),
        (new("compile-queue", "N", "Compiles that may wait for their turn. Default: 16."), static (limits, value) => limits.CompileQueue = value),
        (new("router-versions-kept", "N", "Inactive versions of a router that stay loaded. Default: 2."), static (limits, value) => limits.VersionsKept = value),
        (new("compile-ms", "MS", "Longest time to compile one text. Default: 30000."), static (limits, value) => limits.CompileMs = value),
        (new("router-history", "N", "Versions of a router that are remembered after they were unloaded. Default: 50."), static (limits, value) => limits.History = value),
    ];

    public static readonly HostSetting Guard = new("guard", "on|off", "Whether a new version that is worse than the old one is taken back by itself. Default: on.");

    /// <summary>What the guard allows; ranges are those of <see cref="GuardBounds"/>.</summary>
    public static readonly IReadOnlyList<(HostSetting Setting, string Key)> OfGuard =
    [
        (new("guard-window", "SECONDS", "Versions are compared over this while. Default: 120."), "window"),
        (new("guard-watch", "SECONDS", "How long a new version is watched; a canary as long as it is one. Default: 600."), "watch"),
        (new("guard-requests", "N", "Requests of a version below which nothing is said of it. Default: 20."), "requests"),
        (new("guard-errors", "PERCENT", "How many more of a hundred requests may fail. Default: 5."), "errors"),
        (new("guard-latency", "PERCENT", "How high TTFT and TPOT may be, of the old version's. Default: 200."), "latency"),
        (new("guard-latency-floor-ms", "MS", "A rise in latency that does not matter. Default: 2."), "latency-floor-ms"),
    ];

    public static readonly HostSetting TraceRequests = new("trace-requests", "N", "Ended requests that /admin/requests remembers, 0 to 1000000. Default: 2000.");
    public static readonly HostSetting TraceMib = new("trace-mib", "MIB", "Memory for them, about, 1 to 16384. Default: 32.");
    public static readonly HostSetting TraceEntries = new("trace-entries", "N", "Decisions and log lines of a script that are kept for one request, 0 to 10000. Default: 64.");
    public static readonly HostSetting TraceLineChars = new("trace-line-chars", "N", "Longest log line or error that is kept for a request, 16 to 100000 characters. Default: 500.");

    public static readonly HostSetting ScriptAllow = new("script-allow", "API", "An API that scripts may use although it is refused: N:Name.Space, T:Name.Space.Type or M:Name.Space.Type.Member. May be given several times.", Many: true);
    public static readonly HostSetting ScriptDeny = new("script-deny", "API", "An API that is refused to scripts, written as for script-allow. May be given several times.", Many: true);

    public static readonly HostSetting WatchQuiet = new("watch-quiet-ms", "MS", "Quiet time after a change in the scripts folder before it is read, 0 to 10000. Default: 100.");
    public static readonly HostSetting WarmUpCompiles = new("warm-up-compiles", "N", "Compiles in the background after the start, which make the first changes of a router as quick as later ones, 0 to 1000. Default: 24.");
    public static readonly HostSetting WatchRescan = new("watch-rescan-ms", "MS", "Between two looks at the scripts folder where no change is reported, 100 to 3600000. Default: 2000.");

    public static IReadOnlyList<HostSetting> All { get; } =
    [
        Model, Engines, Engine, AlsoModel, Device, CudaLibs, CudaGemm, TensorParallel, Threads, Processors, KvMemory, KvDataType, PageTokens, Weights, WeightCache, WeightCacheLimit, ClusterSecretFile, Router, Scripts, Data, Store, Host, Port, ApiKey, AdminToken,
        RequestTimeout, CallTimeout, EngineStartTimeout, .. OfScripts.Select(limit => limit.Setting), ScriptAllow, ScriptDeny, WatchQuiet, WatchRescan, WarmUpCompiles,
        Guard, .. OfGuard.Select(bound => bound.Setting), TraceRequests, TraceMib, TraceEntries, TraceLineChars,
    ];
}
