using System.Text;

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
    public static readonly HostSetting Model = new("model", "DIR", "Folder of a Hugging Face model. Default: the built-in model.");
    public static readonly HostSetting Engines = new("engines", "N", "Local engines to start, 0 to 64. Default: 2, or 0 where --engine is given.");
    public static readonly HostSetting Engine = new("engine", "URL", "An engine that runs on its own, http://host:port or unix:path. May be given several times.", Many: true);
    public static readonly HostSetting Device = new("device", "NAMES", "Devices of local engines, in turns: cpu, or cuda:0,cuda:1. Default: cpu.");
    public static readonly HostSetting Threads = new("threads", "N", "CPU threads of each local engine. Default: the processor's cores divided by the engines.");
    public static readonly HostSetting KvMemory = new("kv-memory", "SIZE", "Memory of each local engine's KV cache, as in 512MiB. Default: the engine's.");
    public static readonly HostSetting PageTokens = new("page-tokens", "N", "Tokens of a KV page in local engines. Default: the engine's.");
    public static readonly HostSetting ClusterSecretFile = new("cluster-secret-file", "FILE", "Secret that lets engines exchange KV and guards engines reached over TCP. Default: a new one for the local engines.");
    public static readonly HostSetting Router = new("router", "NAME", "The router of requests that name none. Default: pd_disagg.");
    public static readonly HostSetting Scripts = new("scripts", "DIR", "Folder of the routers' scripts. Default: ./scripts, else the nearest scripts/ above the program, else the copy beside it.");
    public static readonly HostSetting Host = new("host", "ADDR", "Address to listen on. Default: 127.0.0.1. Any address other machines can reach needs --admin-token.");
    public static readonly HostSetting Port = new("port", "P", "Port to listen on, 0 to 65535; 0 is any free one. Default: 8000.");
    public static readonly HostSetting ApiKey = new("api-key", "KEY", "What clients of /v1 have to present. Default: none.");
    public static readonly HostSetting AdminToken = new("admin-token", "TOKEN", "What users of /admin have to present. Default: none, and then only this machine is let in.");
    public static readonly HostSetting RequestTimeout = new("request-timeout", "SECONDS", "Longest time of a request. Default: 600.");
    public static readonly HostSetting CallTimeout = new("call-timeout", "SECONDS", "Longest wait for an engine to answer a call, or between two chunks. Default: 120.");
    public static readonly HostSetting EngineStartTimeout = new("engine-start-timeout", "SECONDS", "Longest wait for a started engine to answer. Default: 120.");

    public static IReadOnlyList<HostSetting> All { get; } =
    [
        Model, Engines, Engine, Device, Threads, KvMemory, PageTokens, ClusterSecretFile, Router, Scripts, Host, Port, ApiKey, AdminToken,
        RequestTimeout, CallTimeout, EngineStartTimeout,
    ];
}
