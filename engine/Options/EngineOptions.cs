using System.CommandLine;
using System.Globalization;
using System.Net;
using System.Text;
using Microsoft.Extensions.Configuration;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Options;

/// <summary>How an engine process runs; <see cref="EngineSettings"/> says what each means.</summary>
public sealed record EngineOptions
{
    private const string Off = "off", Cpu = "cpu", Cuda = "cuda:";

    /// <summary>A folder that exists, or what <see cref="SyntheticModel.IsNamedBy"/> accepts and parses.</summary>
    public required string Model { get; init; }

    /// <summary>"cpu" or "cuda:N".</summary>
    public required string Device { get; init; }

    /// <summary>The name of a GPU.</summary>
    public static string CudaDevice(int ordinal) => Cuda + ordinal.ToString(CultureInfo.InvariantCulture);

    /// <summary>The N of "cuda:N", or null; of a model that is divided among GPUs the first one's.</summary>
    public int? CudaOrdinal => Device == Cpu ? null : int.Parse(Device.AsSpan(Cuda.Length), CultureInfo.InvariantCulture);

    public IReadOnlyList<string> CudaLibraries { get; init; } = [];

    /// <summary>What multiplies many rows on a GPU.</summary>
    public ManyRowProducts CudaGemm { get; init; }

    public required WeightFormat Weights { get; init; }

    /// <summary>Null: weights are not kept.</summary>
    public string? WeightCache { get; init; }

    public required long WeightCacheLimitBytes { get; init; }

    public required EngineAddress Listen { get; init; }

    public required IPEndPoint KvListen { get; init; }

    /// <summary>Null: the address of <see cref="KvListen"/>.</summary>
    public string? KvAdvertise { get; init; }

    /// <summary>KV may be written into the pools of engines on this machine directly.</summary>
    public required bool SharedMemory { get; init; }

    public required long KvMemoryBytes { get; init; }

    /// <summary>Null: f32 on the CPU, and what it computes in on a GPU.</summary>
    public KvDataType? KvDataType { get; init; }

    public required int PageTokens { get; init; }

    public required EngineLimits Limits { get; init; }

    /// <summary>Ranks that the model is divided among.</summary>
    public required int TensorParallel { get; init; }

    /// <summary>Of all ranks.</summary>
    public required int Threads { get; init; }

    /// <summary>One for each thread, or none.</summary>
    public required IReadOnlyList<int> Processors { get; init; }

    public required IReadOnlyList<string> Labels { get; init; }

    /// <summary>Null: the user's own, made on first use.</summary>
    public string? ClusterSecretFile { get; init; }

    public required string EngineId { get; init; }

    public int? ParentPid { get; init; }

    /// <summary>Reads and checks all options.</summary>
    /// <param name="modelsFolder">Holds the built-in models.</param>
    /// <param name="randomDigits">For an engine that is given no id.</param>
    /// <returns>The options, or every error there is.</returns>
    public static (EngineOptions? Options, IReadOnlyList<string> Errors) Read(
        ParseResult commandLine, Func<string, string?> environment, IConfiguration file, string modelsFolder, Func<string> randomDigits)
    {
        var reader = new Reader(commandLine, environment, file);
        var listen = reader.Parse(EngineSettings.Listen, "http://127.0.0.1:8100", EngineAddress.Parse);
        var kvHost = listen is { SocketPath: null } ? listen.Host : "127.0.0.1";
        var kvListen = reader.Parse(EngineSettings.KvListen, null, ParseEndPoint) ?? reader.Try("--listen", $"{listen}", _ => EndPointOf(kvHost, 0));
        var maxSequences = reader.Number(EngineSettings.MaxSequences, 64, 1, 4096);
        var maxBatchTokens = reader.Number(EngineSettings.MaxBatchTokens, 512, 1, 65536);
        var maxLease = reader.Parse(EngineSettings.MaxLease, "3600", text => (TimeSpan?)ParseSeconds(text)) ?? default;
        var processors = reader.Parse(EngineSettings.Processors, null, ProcessorList.Parse) ?? [];
        var ranks = reader.Number(EngineSettings.TensorParallel, 1, 1, 64);
        var defaultLease = new EngineLimits().DefaultLease;
        var options = new EngineOptions
        {
            Model = reader.Parse(EngineSettings.Model, DefaultModel(modelsFolder), text => FindModel(text, modelsFolder)) ?? "",
            Device = reader.Parse(EngineSettings.Device, Cpu, ParseDevice) ?? Cpu,
            CudaLibraries = reader.Many(EngineSettings.CudaLibs, text => Directory.Exists(text) ? Path.GetFullPath(text) : throw new FormatException("there is no such folder")),
            CudaGemm = reader.Parse(EngineSettings.CudaGemm, "own", text => (ManyRowProducts?)ParseGemm(text)) ?? default,
            Weights = reader.Parse(EngineSettings.Weights, "auto", text => (WeightFormat?)ParseWeights(text)) ?? default,
            WeightCache = reader.Parse(EngineSettings.WeightCache, DefaultWeightCache(environment) ?? Off, text => text == Off ? null : Path.GetFullPath(text)),
            WeightCacheLimitBytes = reader.Parse(EngineSettings.WeightCacheLimit, "64GiB", text => (long?)ParseSize(text)) ?? 0,
            Listen = listen!,
            KvListen = kvListen!,
            KvAdvertise = reader.Parse(EngineSettings.KvAdvertise, null, text => text),
            SharedMemory = reader.Parse(EngineSettings.KvTransport, "auto", text =>
                text is "auto" or "tcp" ? text == "auto" : throw new FormatException("auto or tcp is expected")),
            KvMemoryBytes = reader.Parse(EngineSettings.KvMemory, "1GiB", text => (long?)ParseSize(text)) ?? 0,
            KvDataType = reader.Parse(EngineSettings.KvDataType, null, text => (KvDataType?)KvDataTypes.Parse(text)),
            PageTokens = reader.Number(EngineSettings.PageTokens, 16, 1, 4096),
            Limits = new EngineLimits
            {
                MaxBatchTokens = maxBatchTokens,
                MaxSequences = maxSequences,
                MaxWaiting = reader.Number(EngineSettings.MaxWaiting, 1024, 1, 1_000_000),
                MaxWait = reader.Parse(EngineSettings.MaxWait, "30", text => (TimeSpan?)ParseSeconds(text)) ?? default,
                MaxUnread = reader.Parse(EngineSettings.MaxUnread, "600", text => (TimeSpan?)ParseSeconds(text)) ?? default,
                MaxLease = maxLease,
                DefaultLease = maxLease < defaultLease ? maxLease : defaultLease,
                SendTimeout = reader.Parse(EngineSettings.SendTimeout, "30", text => (TimeSpan?)ParseSeconds(text)) ?? default,
            },
            TensorParallel = ranks,
            Threads = reader.Number(EngineSettings.Threads, processors.Count > 0 ? processors.Count : Math.Max(ranks, Math.Min(Environment.ProcessorCount, 256) / ranks * ranks), 1, 256),
            Processors = processors,
            Labels = reader.Many(EngineSettings.Label, text => text.Length is > 0 and <= 128 ? text : throw new FormatException("a label has 1 to 128 characters")),
            ClusterSecretFile = reader.Parse(EngineSettings.ClusterSecretFile, null, Path.GetFullPath),
            EngineId = reader.Parse(EngineSettings.EngineId, "engine-" + randomDigits(), text =>
                text.Length is > 0 and <= 128 && !text.Any(char.IsControl) ? text : throw new FormatException("an id has 1 to 128 characters")) ?? "",
            ParentPid = reader.Parse(EngineSettings.ParentPid, null, text => (int?)ParseWhole(text, 1, int.MaxValue)),
        };
        reader.Check(maxBatchTokens >= maxSequences, $"--max-batch-tokens {maxBatchTokens} is less than --max-sequences {maxSequences}: each decoding sequence takes a token of every step");
        reader.Check(processors.Count == 0 || processors.Count == options.Threads, $"--threads {options.Threads} differs from the {processors.Count} processors of --cpus: leave it out");
        reader.Check(
            options.Threads % ranks == 0,
            $"{(processors.Count > 0 ? $"the {processors.Count} processors of --cpus" : $"--threads {options.Threads}")} cannot be divided among {ranks} ranks (--tensor-parallel): each gets as many");
        reader.Check(options.Weights != WeightFormat.Float8 || options.Device != Cpu, "--weights fp8: the CPU has no such weights, GPUs have (--device cuda:N); --weights int8 takes as few bytes");
        reader.Check(ranks == 1 || !SyntheticModel.IsNamedBy(options.Model), $"--tensor-parallel {ranks}: the synthetic model has no weights to divide");
        reader.Check(listen is not { SocketPath: { } path } || Encoding.UTF8.GetByteCount(path) <= 104, "--listen: the path, with .kv added for KV, is longer than the 107 bytes a unix socket may have");
        reader.Check(
            options.KvAdvertise is not null || kvListen is null || !(kvListen.Address.Equals(IPAddress.Any) || kvListen.Address.Equals(IPAddress.IPv6Any)),
            "--kv-advertise is needed: KV is listened for on every address, and others must know which one to use");
        return reader.Errors.Count == 0 ? (options, []) : (null, reader.Errors);
    }

    private static string? DefaultModel(string modelsFolder) =>
        Directory.Exists(modelsFolder) ? Directory.EnumerateDirectories(modelsFolder).Order(StringComparer.Ordinal).FirstOrDefault() : null;

    private static string FindModel(string text, string modelsFolder)
    {
        var builtIn = Path.Combine(modelsFolder, text);
        if (SyntheticModel.IsNamedBy(text))
        {
            _ = SyntheticModel.Parse(text);
            return text;
        }

        return Directory.Exists(text) ? Path.GetFullPath(text)
            : text.AsSpan().IndexOfAny('/', '\\') < 0 && Directory.Exists(builtIn) ? builtIn
            : throw new FormatException($"neither a folder, nor a model in {modelsFolder}, nor {SyntheticModel.Name}");
    }

    private static string? DefaultWeightCache(Func<string, string?> environment)
    {
        // The base directory specification wants relative ones ignored.
        string? cache = environment("XDG_CACHE_HOME") is { Length: > 0 } set && Path.IsPathRooted(set) ? set
            : environment("HOME") is { Length: > 0 } home && Path.IsPathRooted(home) ? Path.Combine(home, ".cache")
            : null;
        return cache is null ? null : Path.Combine(cache, "scriptedserve", "weights");
    }

    private static string ParseDevice(string text) => text switch
    {
        Cpu => Cpu,
        "cuda" => Cuda + "0",
        _ when text.StartsWith(Cuda, StringComparison.Ordinal) => CudaDevice(ParseWhole(text[Cuda.Length..], 0, 999)),
        _ => throw new FormatException("cpu, or cuda:N for the GPU of that number, is expected"),
    };

    private static ManyRowProducts ParseGemm(string text) => text switch
    {
        "own" => ManyRowProducts.Own,
        "wgmma" => ManyRowProducts.Hopper,
        "cublaslt" => ManyRowProducts.CublasLt,
        _ => throw new FormatException("own, wgmma or cublaslt is expected"),
    };

    private static WeightFormat ParseWeights(string text) => text switch
    {
        "auto" => WeightFormat.Auto,
        "f32" => WeightFormat.Float32,
        "bf16" => WeightFormat.BFloat16,
        "int8" => WeightFormat.Int8,
        "fp8" => WeightFormat.Float8,
        _ => throw new FormatException("auto, f32, bf16, int8 or fp8 is expected"),
    };

    private static long ParseSize(string text)
    {
        var digits = text.AsSpan().TrimEnd("kKMGTiB ");
        var unit = text[digits.Length..].Trim() switch
        {
            "" or "B" => 1L,
            "KiB" => 1L << 10,
            "MiB" => 1L << 20,
            "GiB" => 1L << 30,
            "TiB" => 1L << 40,
            _ => throw new FormatException("a size is a number and B, KiB, MiB, GiB or TiB"),
        };
        return double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number * unit is >= 1 and <= 1L << 44
            ? (long)(number * unit)
            : throw new FormatException("a size is a number and B, KiB, MiB, GiB or TiB, from 1 B to 16 TiB");
    }

    private static TimeSpan ParseSeconds(string text) =>
        double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds) && seconds is >= 0.001 and <= 86400
            ? TimeSpan.FromSeconds(seconds)
            : throw new FormatException("a time is a number of seconds from 0.001 to 86400");

    internal static int ParseWhole(string text, int least, int most) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most
            ? number
            : throw new FormatException($"a whole number from {least} to {most} is expected");

    private static IPEndPoint ParseEndPoint(string text)
    {
        var colon = text.LastIndexOf(':');
        return colon > 0
            ? EndPointOf(text[..colon].Trim('[', ']'), ParseWhole(text[(colon + 1)..], 0, 65535))
            : throw new FormatException("HOST:PORT is expected");
    }

    private static IPEndPoint EndPointOf(string host, int port) => new(
        host == "*" ? IPAddress.Any
        : host.Equals("localhost", StringComparison.OrdinalIgnoreCase) ? IPAddress.Loopback
        : IPAddress.TryParse(host, out var address) ? address
        : throw new FormatException($"the host '{host}' must be an IP address of this machine, localhost or *"),
        port);

    /// <summary>Reads settings and collects what is wrong with them.</summary>
    internal sealed class Reader(ParseResult commandLine, Func<string, string?> environment, IConfiguration file)
    {
        public List<string> Errors { get; } = [.. commandLine.Errors.Select(error => error.Message)];

        public void Check(bool holds, string error)
        {
            if (!holds)
            {
                Errors.Add(error);
            }
        }

        public T? Parse<T>(EngineSetting setting, string? byDefault, Func<string, T> parse)
        {
            var (values, source) = setting.Find(commandLine, environment, file) ?? (byDefault is null ? [] : [byDefault], "--" + setting.Name);
            Check(values.Count <= 1, $"{source}: given {values.Count} times");
            return values.Count == 1 ? Try(source, values[0], parse) : default;
        }

        public IReadOnlyList<T> Many<T>(EngineSetting setting, Func<string, T> parse)
        {
            var (values, source) = setting.Find(commandLine, environment, file) ?? ([], "");
            return [.. values.Select(value => Try(source, value, parse)!)];
        }

        public int Number(EngineSetting setting, int byDefault, int least, int most) =>
            Parse(setting, byDefault.ToString(CultureInfo.InvariantCulture), text => (int?)ParseWhole(text, least, most)) ?? byDefault;

        public T? Try<T>(string source, string value, Func<string, T> parse)
        {
            try
            {
                return parse(value);
            }
            catch (Exception e) when (e is FormatException or ArgumentException or IOException)
            {
                Errors.Add($"{source} '{value}': {e.Message}");
                return default;
            }
        }
    }
}
