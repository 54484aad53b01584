using System.Globalization;
using System.Net;
using System.Text.RegularExpressions;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Host.Admin;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Scripts;
using ScriptedServe.Host.Scripts.Guarding;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Options;

/// <summary>Makes <see cref="ServeOptions"/> of what is set, and collects every error before refusing.</summary>
internal sealed partial class ServeOptionsReader(SettingSources sources, int cores)
{
    private readonly List<string> errors = [];

    /// <returns>The options, or null and what is wrong with each bad setting.</returns>
    public static (ServeOptions? Options, IReadOnlyList<string> Errors) Read(SettingSources sources, int cores)
    {
        var reader = new ServeOptionsReader(sources, cores);
        var options = reader.Read();
        return reader.errors.Count == 0 ? (options, []) : (null, reader.errors);
    }

    private ServeOptions Read()
    {
        var defaults = new ServeOptions();
        IReadOnlyList<string> urls = sources.Find(HostSettings.Engine)?.Values ?? [];
        foreach (var url in urls)
        {
            CheckAddress(url);
        }

        var engines = Integer(HostSettings.Engines, urls.Count > 0 ? 0 : defaults.Engines, 0, 64);
        if (engines == 0 && urls.Count == 0)
        {
            errors.Add("--engines 0 without --engine leaves no engine to serve with: start some, or attach one by its URL.");
        }

        var ranks = Integer(HostSettings.TensorParallel, defaults.TensorParallel, 1, 64);
        var processors = Processors(engines);
        var threads = Integer(HostSettings.Threads, processors.Count > 0 ? Math.Max(1, processors.Count / Math.Max(1, engines)) : Math.Max(ranks, cores / Math.Max(1, engines) / ranks * ranks), 1, 1024);
        if (threads % ranks != 0)
        {
            errors.Add($"--threads {threads} cannot be divided among {ranks} ranks (--tensor-parallel): each gets as many.");
        }

        var host = Text(HostSettings.Host) ?? defaults.Host;
        var adminToken = Text(HostSettings.AdminToken);
        CheckHost(host, adminToken);
        return new ServeOptions
        {
            Model = Model(),
            Engines = engines,
            EngineUrls = urls,
            AlsoModels = sources.Find(HostSettings.AlsoModel)?.Values ?? [],
            Devices = Devices(),
            CudaLibs = Folder(HostSettings.CudaLibs),
            CudaGemm = Matching(HostSettings.CudaGemm, ProductsName(), "own, wgmma or cublaslt"),
            TensorParallel = ranks,
            Threads = threads,
            Processors = processors,
            KvMemory = Matching(HostSettings.KvMemory, Size(), "a size such as 512MiB or 2GiB"),
            KvDataType = Matching(HostSettings.KvDataType, KvDataTypeName(), "f32, bf16 or f16"),
            PageTokens = Matching(HostSettings.PageTokens, WholeNumber(), "a number of tokens"),
            Weights = Matching(HostSettings.Weights, WeightFormat(), "auto, f32, bf16, int8 or fp8"),
            WeightCache = Text(HostSettings.WeightCache),
            WeightCacheLimit = Matching(HostSettings.WeightCacheLimit, Size(), "a size such as 512MiB or 2GiB"),
            ClusterSecretFile = File(HostSettings.ClusterSecretFile),
            Router = Router() ?? defaults.Router,
            Scripts = Folder(HostSettings.Scripts),
            Data = Data(),
            Store = Store(),
            Host = host,
            Port = Integer(HostSettings.Port, defaults.Port, 0, 65535),
            ApiKey = Text(HostSettings.ApiKey),
            AdminToken = adminToken,
            RequestTimeout = Seconds(HostSettings.RequestTimeout, defaults.RequestTimeout),
            CallTimeout = Seconds(HostSettings.CallTimeout, defaults.CallTimeout),
            EngineStartTimeout = Seconds(HostSettings.EngineStartTimeout, defaults.EngineStartTimeout),
            Guard = Guard(),
            Traces = new TraceSettings
            {
                Requests = Integer(HostSettings.TraceRequests, defaults.Traces.Requests, 0, 1_000_000),
                Bytes = (long)Integer(HostSettings.TraceMib, (int)(defaults.Traces.Bytes >> 20), 1, 16_384) << 20,
                Entries = Integer(HostSettings.TraceEntries, defaults.Traces.Entries, 0, 10_000),
                LineChars = Integer(HostSettings.TraceLineChars, defaults.Traces.LineChars, 16, 100_000),
            },
            ScriptLimits = Limits(),
            ScriptApi = Api(),
            WarmUpCompiles = Integer(HostSettings.WarmUpCompiles, defaults.WarmUpCompiles, 0, 1000),
            ScriptWatcher = new ScriptWatcherOptions
            {
                QuietMs = Integer(HostSettings.WatchQuiet, defaults.ScriptWatcher.QuietMs, 0, 10_000),
                RescanMs = Integer(HostSettings.WatchRescan, defaults.ScriptWatcher.RescanMs, 100, 3_600_000),
            },
        };
    }

    private GuardBounds Guard()
    {
        var bounds = new GuardBounds();
        if (Text(HostSettings.Guard) is { } mode)
        {
            if (mode is "on" or "off")
            {
                bounds = bounds.With(mode);
            }
            else
            {
                Bad(HostSettings.Guard, mode, "on or off");
            }
        }

        foreach (var (setting, key) in HostSettings.OfGuard)
        {
            if (Text(setting) is { } text)
            {
                try
                {
                    bounds = bounds.With($"{key}={text}") with { IsOn = bounds.IsOn };
                }
                catch (FormatException e)
                {
                    errors.Add($"{Source(setting)}: '{text}' cannot be used ({e.Message}).");
                }
            }
        }

        return bounds;
    }

    private ScriptLimits Limits()
    {
        const int Most = 10_000_000;
        var limits = new ScriptLimits();
        foreach (var (setting, set) in HostSettings.OfScripts.Where(limit => sources.Find(limit.Setting) is not null))
        {
            set(limits, Integer(setting, 0, 0, Most));
        }

        errors.AddRange(limits.Errors().Select(error => "--" + error));
        return limits;
    }

    private ScriptApiRules Api()
    {
        try
        {
            return ScriptApiRules.Default.With(sources.Find(HostSettings.ScriptAllow)?.Values ?? [], sources.Find(HostSettings.ScriptDeny)?.Values ?? []);
        }
        catch (FormatException e)
        {
            errors.Add($"--script-allow, --script-deny: {e.Message}");
            return ScriptApiRules.Default;
        }
    }

    private void CheckAddress(string url)
    {
        try
        {
            EngineAddress.Parse(url);
        }
        catch (FormatException e)
        {
            errors.Add($"--engine: {e.Message}");
        }
    }

    private void CheckHost(string host, string? adminToken)
    {
        if (AdminAuth.IsLoopback(host))
        {
            return;
        }

        if (host != "*" && !IPAddress.TryParse(host, out _))
        {
            errors.Add($"--host: '{host}' is neither an IP address nor localhost nor * (every interface).");
        }
        else if (adminToken is null)
        {
            errors.Add($"--host {host} can be reached from other machines, and the admin API lets its users run code: set --admin-token (or {HostSettings.AdminToken.Variable}), or listen on 127.0.0.1.");
        }
    }

    private string? Text(HostSetting setting)
    {
        if (sources.Find(setting) is not { } found)
        {
            return null;
        }

        if (found.Values.Count > 1)
        {
            errors.Add($"{found.Source} is given {found.Values.Count} times; it takes one value.");
        }
        else if (string.IsNullOrWhiteSpace(found.Values[0]))
        {
            errors.Add($"{found.Source} is empty; leave it out for its default.");
        }

        return found.Values[0];
    }

    private int Integer(HostSetting setting, int fallback, int least, int most)
    {
        if (Text(setting) is not { } text)
        {
            return fallback;
        }

        if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= least && value <= most)
        {
            return value;
        }

        Bad(setting, text, string.Create(CultureInfo.InvariantCulture, $"a whole number from {least} to {most}"));
        return fallback;
    }

    private TimeSpan Seconds(HostSetting setting, TimeSpan fallback)
    {
        const double Most = 86400;
        if (Text(setting) is not { } text)
        {
            return fallback;
        }

        if (double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value) && value is > 0 and <= Most)
        {
            return TimeSpan.FromSeconds(value);
        }

        Bad(setting, text, "a number of seconds above 0, at most 86400");
        return fallback;
    }

    private string? Matching(HostSetting setting, Regex pattern, string expected)
    {
        var text = Text(setting);
        if (text is not null && !pattern.IsMatch(text))
        {
            Bad(setting, text, expected);
        }

        return text;
    }

    private string? Router()
    {
        var text = Text(HostSettings.Router);
        if (text is not null && !RouterNames.IsValid(text))
        {
            Bad(HostSettings.Router, text, "a router's name (1 to 64 of a-z, 0-9, '_' and '-', not beginning with '_')");
        }

        return text;
    }

    private string? Model()
    {
        if (Text(HostSettings.Model) is not { } text || !SyntheticModel.IsNamedBy(text))
        {
            return Folder(HostSettings.Model);
        }

        try
        {
            SyntheticModel.Parse(text);
        }
        catch (FormatException e)
        {
            errors.Add($"{Source(HostSettings.Model)} '{text}': {e.Message}.");
        }

        return text;
    }

    private string? Data() => Text(HostSettings.Data) is { } text ? text == RouterStores.None ? text : Path.GetFullPath(text) : null;

    private PostgresAddress? Store()
    {
        if (Text(HostSettings.Store) is not { } text)
        {
            return null;
        }

        if (sources.Find(HostSettings.Data) is { } data)
        {
            errors.Add($"{Source(HostSettings.Store)} and {data.Source} exclude each other: routers are kept in one place.");
        }

        try
        {
            return PostgresAddress.Parse(text);
        }
        catch (FormatException e)
        {
            errors.Add($"{Source(HostSettings.Store)}: {e.Message}.");
            return null;
        }
    }

    /// <summary>Of all local engines together.</summary>
    private IReadOnlyList<int> Processors(int engines)
    {
        if (Text(HostSettings.Processors) is not { } text)
        {
            return [];
        }

        try
        {
            var processors = ProcessorList.Parse(text);
            if (engines == 0)
            {
                errors.Add($"{Source(HostSettings.Processors)}: no local engine is started that could compute on them.");
            }
            else if (processors.Count % engines != 0)
            {
                errors.Add($"{Source(HostSettings.Processors)}: {processors.Count} processors cannot be shared out evenly among {engines} engines (--engines).");
            }
            else if (sources.Find(HostSettings.Threads) is { } threads && threads.Values[0] != (processors.Count / engines).ToString(CultureInfo.InvariantCulture))
            {
                errors.Add($"{threads.Source}: {threads.Values[0]} threads an engine differ from its {processors.Count / engines} processors of --cpus: leave it out.");
            }

            return processors;
        }
        catch (FormatException e)
        {
            errors.Add($"{Source(HostSettings.Processors)}: '{text}' cannot be used ({e.Message}).");
            return [];
        }
    }

    private string[] Devices()
    {
        if (Text(HostSettings.Device) is not { } text)
        {
            return ["cpu"];
        }

        var devices = text.Split(',', StringSplitOptions.TrimEntries);
        foreach (var device in devices.Where(device => !Device().IsMatch(device)))
        {
            Bad(HostSettings.Device, device, "cpu or cuda:N");
        }

        return devices;
    }

    private string? Folder(HostSetting setting)
    {
        var text = Text(setting);
        if (text is not null && !Directory.Exists(text))
        {
            errors.Add($"{Source(setting)}: there is no folder '{text}' (looked for at {Path.GetFullPath(text)}).");
        }

        return text is null ? null : Path.GetFullPath(text);
    }

    private string? File(HostSetting setting)
    {
        var text = Text(setting);
        if (text is not null && !System.IO.File.Exists(text))
        {
            errors.Add($"{Source(setting)}: there is no file '{text}' (looked for at {Path.GetFullPath(text)}).");
        }

        return text is null ? null : Path.GetFullPath(text);
    }

    private void Bad(HostSetting setting, string text, string expected) => errors.Add($"{Source(setting)}: '{text}' is not {expected}.");

    private string Source(HostSetting setting) => sources.Find(setting)!.Source;

    [GeneratedRegex(@"\A\d+(\.\d+)?\s*([KMGT]i?)?B?\z", RegexOptions.IgnoreCase)]
    private static partial Regex Size();

    [GeneratedRegex(@"\A(f32|bf16|f16)\z")]
    private static partial Regex KvDataTypeName();

    [GeneratedRegex(@"\A[1-9]\d{0,5}\z")]
    private static partial Regex WholeNumber();

    [GeneratedRegex(@"\A(auto|f32|bf16|int8|fp8)\z")]
    private static partial Regex WeightFormat();

    [GeneratedRegex(@"\A(own|wgmma|cublaslt)\z")]
    private static partial Regex ProductsName();

    [GeneratedRegex(@"\A(cpu|cuda:\d{1,3})\z")]
    private static partial Regex Device();
}
