using System.Text.Json;
using System.Text.Json.Serialization;

namespace ScriptedServe.Contracts;

/// <summary>
/// What <c>engine profile</c> measured of one model on one machine, as written by <c>--out</c>: for simulators and scripts that predict how long steps and
/// transfers take. Names in the file are in snake_case; times are medians.
/// </summary>
public sealed record EngineProfile
{
    public const string ExpectedSchema = "scriptedserve.engine-profile";

    /// <summary>Grows where a reader of the version before would misread the file; what is merely added does not change it.</summary>
    public const int ExpectedVersion = 1;

    private static readonly JsonSerializerOptions s_json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        RespectNullableAnnotations = true,
        NumberHandling = JsonNumberHandling.Strict,
    };

    public required string Schema { get; init; }

    public required int Version { get; init; }

    /// <summary>When it was measured, and by which version of the engine.</summary>
    public required DateTimeOffset Created { get; init; }

    public required string EngineVersion { get; init; }

    public required ProfiledModel Model { get; init; }

    public required ProfiledMachine Machine { get; init; }

    public required ProfiledSettings Settings { get; init; }

    /// <summary>By chunk, then context.</summary>
    public required IReadOnlyList<PrefillTime> Prefill { get; init; }

    /// <summary>By sequences, then context.</summary>
    public required IReadOnlyList<DecodeTime> Decode { get; init; }

    /// <summary>By transport, then tokens.</summary>
    public required IReadOnlyList<KvCopyTime> KvCopy { get; init; }

    /// <summary>What was not measured, and why: one sentence each.</summary>
    public required IReadOnlyList<string> Skipped { get; init; }

    public string ToJson() => JsonSerializer.Serialize(this, s_json);

    /// <exception cref="FormatException">The text is no profile, lacks something, or is of a version that is not known here.</exception>
    public static EngineProfile FromJson(string text)
    {
        try
        {
            using (var document = JsonDocument.Parse(text))
            {
                var root = document.RootElement;
                var schema = root.ValueKind == JsonValueKind.Object && root.TryGetProperty("schema", out var named) ? named.ToString() : "";
                var version = schema == ExpectedSchema && root.TryGetProperty("version", out var number) ? number.ToString() : "";
                if (schema != ExpectedSchema || version != $"{ExpectedVersion}")
                {
                    throw new FormatException($"an engine profile has schema '{ExpectedSchema}' and version {ExpectedVersion}; this has schema '{schema}' and version '{version}'");
                }
            }

            return JsonSerializer.Deserialize<EngineProfile>(text, s_json) ?? throw new FormatException("the engine profile is null");
        }
        catch (JsonException e)
        {
            throw new FormatException($"the engine profile cannot be read: {e.Message}", e);
        }
    }
}

/// <param name="Layers">Layers of KV.</param>
/// <param name="KvBytesPerToken">KV of a token, all layers.</param>
public sealed record ProfiledModel(string Id, int VocabSize, int ContextLength, int Layers, int KvHeads, int HeadDim, int KvBytesPerToken);

/// <param name="Vectors">Width of the vectors that the kernels use.</param>
public sealed record ProfiledMachine(string OperatingSystem, string Architecture, int Processors, string Vectors);

/// <summary>The engine's options of the same names.</summary>
public sealed record ProfiledSettings(string Device, int Threads, string Weights, string KvDtype, int PageTokens, int MaxBatchTokens, double BudgetSeconds);

/// <summary>A step that computes a chunk of one prompt.</summary>
/// <param name="ContextTokens">Tokens of the prompt before the chunk, whose KV is there.</param>
public sealed record PrefillTime(int ChunkTokens, int ContextTokens, double StepMs, double TokensPerSecond, int Samples);

/// <summary>A step that computes one token of each sequence, with logits; choosing the token is not in it.</summary>
/// <param name="ContextTokens">Tokens that each sequence has already.</param>
public sealed record DecodeTime(int Sequences, int ContextTokens, double StepMs, double TokensPerSecond, int Samples);

/// <summary>KV of so many tokens, all layers, from one pool of this machine to another, with opening and acknowledgement.</summary>
/// <param name="Transport">"shm" or "tcp".</param>
public sealed record KvCopyTime(string Transport, int Tokens, long Bytes, double Ms, double GigabytesPerSecond, int Samples);
