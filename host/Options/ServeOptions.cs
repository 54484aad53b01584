using System.Globalization;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Guarding;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Options;

/// <summary>The checked options of <c>serve</c>; each is documented at its <see cref="HostSetting"/>.</summary>
internal sealed record ServeOptions
{
    /// <summary>A folder, or the synthetic model's name and values. Null: the built-in model.</summary>
    public string? Model { get; init; }

    public int Engines { get; init; } = 2;

    public IReadOnlyList<string> EngineUrls { get; init; } = [];

    public IReadOnlyList<string> AlsoModels { get; init; } = [];

    public IReadOnlyList<string> Devices { get; init; } = ["cpu"];

    public string? CudaLibs { get; init; }

    public string? CudaGemm { get; init; }

    public int TensorParallel { get; init; } = 1;

    /// <summary>Of each local engine.</summary>
    public int Threads { get; init; } = 1;

    /// <summary>Of all local engines together, as many for each; empty: threads are not pinned.</summary>
    public IReadOnlyList<int> Processors { get; init; } = [];

    public string? KvMemory { get; init; }

    public string? KvDataType { get; init; }

    public string? PageTokens { get; init; }

    public string? Weights { get; init; }

    public string? WeightCache { get; init; }

    public string? WeightCacheLimit { get; init; }

    /// <summary>Options that local engines are given as they are here, where they are.</summary>
    public IReadOnlyList<(string Name, string Value)> PassedOn =>
    [
        .. from passed in new[]
           {
               (HostSettings.KvMemory, KvMemory), (HostSettings.KvDataType, KvDataType), (HostSettings.PageTokens, PageTokens),
               (HostSettings.TensorParallel, TensorParallel == 1 ? null : TensorParallel.ToString(CultureInfo.InvariantCulture)),
               (HostSettings.Weights, Weights), (HostSettings.WeightCache, WeightCache), (HostSettings.WeightCacheLimit, WeightCacheLimit),
               (HostSettings.CudaLibs, CudaLibs), (HostSettings.CudaGemm, CudaGemm),
           }
           where passed.Item2 is not null
           select (passed.Item1.Name, passed.Item2),
    ];

    public string? ClusterSecretFile { get; init; }

    public string Router { get; init; } = "data_parallel";

    /// <summary>Null: found as its setting says.</summary>
    public string? Scripts { get; init; }

    /// <summary>Null: the default folder; <c>none</c>: no folder.</summary>
    public string? Data { get; init; }

    /// <summary>Null: no database.</summary>
    public PostgresAddress? Store { get; init; }

    public string Host { get; init; } = "127.0.0.1";

    public int Port { get; init; } = 8000;

    public string? ApiKey { get; init; }

    public string? AdminToken { get; init; }

    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(600);

    public TimeSpan CallTimeout { get; init; } = TimeSpan.FromSeconds(120);

    public TimeSpan EngineStartTimeout { get; init; } = TimeSpan.FromSeconds(120);

    public GuardBounds Guard { get; init; } = new();

    public TraceSettings Traces { get; init; } = TraceSettings.Default;

    /// <summary>After the start, to make the compiler quick.</summary>
    public int WarmUpCompiles { get; init; } = 24;

    public ScriptLimits ScriptLimits { get; init; } = new();

    public ScriptApiRules ScriptApi { get; init; } = ScriptApiRules.Default;

    public ScriptWatcherOptions ScriptWatcher { get; init; } = new();
}
