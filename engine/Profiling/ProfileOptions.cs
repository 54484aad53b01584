using System.CommandLine;
using System.Globalization;
using Microsoft.Extensions.Configuration;
using ScriptedServe.Engine.Options;

namespace ScriptedServe.Engine.Profiling;

/// <summary>What <c>engine profile</c> takes besides the engine's own options.</summary>
/// <param name="Out">The file for the JSON; null for none.</param>
/// <param name="Budget">How long all measurements may take; loading the model is not in it.</param>
/// <param name="Chunks">Null: the usual ones that fit; as the next two.</param>
internal sealed record ProfileOptions(string? Out, TimeSpan Budget, IReadOnlyList<int>? Chunks, IReadOnlyList<int>? Contexts, IReadOnlyList<int>? Batches)
{
    private static readonly EngineSetting s_out = new("out", "FILE", "Where to write the profile as JSON. Default: nowhere.");
    private static readonly EngineSetting s_budget = new("budget-seconds", "N", "How long to measure, 1 to 86400; what finds no time is skipped and named. Default: 60.");
    private static readonly EngineSetting s_chunks = new("chunks", "N,N...", "Prompt tokens computed in a step, each up to --max-batch-tokens. Default: 32,128,512.", Many: true);
    private static readonly EngineSetting s_contexts = new("contexts", "N,N...", "Tokens before them, each less than the model's context. Default: 0,256,1024,4096,16384.", Many: true);
    private static readonly EngineSetting s_batches = new("batches", "N,N...", "Sequences that decode in a step, each up to --max-sequences. Default: 1,4,16,64.", Many: true);

    /// <summary>The command's options: those of the engine that matter to a step, and its own.</summary>
    public static IReadOnlyList<EngineSetting> Settings { get; } =
    [
        EngineSettings.Model, EngineSettings.Device, EngineSettings.CudaLibs, EngineSettings.CudaGemm, EngineSettings.Weights, EngineSettings.WeightCache, EngineSettings.WeightCacheLimit, EngineSettings.KvMemory,
        EngineSettings.KvDataType, EngineSettings.PageTokens, EngineSettings.MaxBatchTokens, EngineSettings.MaxSequences, EngineSettings.Threads, EngineSettings.Processors,
        s_out, s_budget, s_chunks, s_contexts, s_batches,
    ];

    /// <returns>The options, or every error there is.</returns>
    public static (ProfileOptions? Options, IReadOnlyList<string> Errors) Read(ParseResult commandLine, Func<string, string?> environment, IConfiguration file)
    {
        var reader = new EngineOptions.Reader(commandLine, environment, file);

        // Those of the syntax are told with the engine's options.
        reader.Errors.Clear();
        var options = new ProfileOptions(
            reader.Parse(s_out, null, ParseFile),
            TimeSpan.FromSeconds(reader.Number(s_budget, 60, 1, 86400)),
            Numbers(s_chunks, 1),
            Numbers(s_contexts, 0),
            Numbers(s_batches, 1));
        return reader.Errors.Count == 0 ? (options, []) : (null, reader.Errors);

        IReadOnlyList<int>? Numbers(EngineSetting setting, int least)
        {
            int[] numbers = [.. reader.Many(setting, text => text).SelectMany(text => text.Split(','))
                .Select(text => reader.Try("--" + setting.Name, text.Trim(), number => EngineOptions.ParseWhole(number, least, 1 << 24)))];
            return numbers.Length == 0 ? null : [.. numbers.Distinct().Order()];
        }
    }

    public ProfileGrid GridFor(ProfileGrid usual) => new(Chunks ?? usual.Chunks, Contexts ?? usual.Contexts, Batches ?? usual.Batches);

    /// <summary>Told before an hour was measured for it.</summary>
    private static string ParseFile(string text)
    {
        var path = Path.GetFullPath(text);
        return Directory.Exists(path) ? throw new FormatException("this is a folder, and a file is expected")
            : Directory.Exists(Path.GetDirectoryName(path)) ? path
            : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"there is no folder {Path.GetDirectoryName(path)}"));
    }
}
