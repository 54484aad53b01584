using System.Globalization;

namespace ScriptedServe.Contracts;

/// <summary>
/// The model without weights, named in place of a folder: <c>synthetic</c> or <c>synthetic:key=value,…</c>. Engine and host each make their part of it
/// from these values: the engine its tokens and KV, the host a tokenizer. Ids below <see cref="ByteTokens"/> are the bytes of text, the others words.
/// It has no end token, so a generation is as long as it may be.
/// </summary>
public sealed record SyntheticModel
{
    /// <summary>Also the model's id. A folder of this name is <c>./synthetic</c>.</summary>
    public const string Name = "synthetic";

    public const int ByteTokens = 256;

    private static readonly (string Key, int Least, int Most, Func<SyntheticModel, int, SyntheticModel> Set)[] s_keys =
    [
        ("vocab", 2 * ByteTokens, 1 << 18, static (model, value) => model with { Vocab = value }),
        ("context", 2, 1 << 20, static (model, value) => model with { Context = value }),
        ("layers", 1, 256, static (model, value) => model with { Layers = value }),
        ("kv-heads", 1, 256, static (model, value) => model with { KvHeads = value }),
        ("head-dim", 2, 1024, static (model, value) => model with { HeadDim = value }),
        ("step-us", 0, 10_000_000, static (model, value) => model with { StepUs = value }),
        ("token-us", 0, 10_000_000, static (model, value) => model with { TokenUs = value }),
    ];

    /// <summary>Token ids. 512 to 262144; default 1024.</summary>
    public int Vocab { get; init; } = 1024;

    /// <summary>Tokens of prompt and generation together. 2 to 1048576; default 8192.</summary>
    public int Context { get; init; } = 8192;

    /// <summary>Layers of KV. 1 to 256; default 2.</summary>
    public int Layers { get; init; } = 2;

    /// <summary>1 to 256; default 1.</summary>
    public int KvHeads { get; init; } = 1;

    /// <summary>f32 values of a key or value of a head. 2 to 1024; default 8.</summary>
    public int HeadDim { get; init; } = 8;

    /// <summary>What each step takes, in microseconds. 0 to 10000000; default 0.</summary>
    public int StepUs { get; init; }

    /// <summary>What each token of a step takes besides, prefilled or decoded. 0 to 10000000; default 0.</summary>
    public int TokenUs { get; init; }

    public static bool IsNamedBy(string model) => model == Name || model.StartsWith(Name + ":", StringComparison.Ordinal);

    /// <param name="text">For which <see cref="IsNamedBy"/> holds.</param>
    /// <exception cref="FormatException">Names every key that is unknown, given twice or out of its range.</exception>
    public static SyntheticModel Parse(string text)
    {
        var model = new SyntheticModel();
        if (text == Name)
        {
            return model;
        }

        var errors = new List<string>();
        var given = new HashSet<string>(StringComparer.Ordinal);
        foreach (var part in text[(Name.Length + 1)..].Split(','))
        {
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            var key = equals < 0 ? part : part[..equals];
            var index = Array.FindIndex(s_keys, known => known.Key == key);
            if (index < 0 || equals < 0)
            {
                errors.Add($"'{part}' is not one of {string.Join(", ", s_keys.Select(known => known.Key + "=N"))}");
                continue;
            }

            var (_, least, most, set) = s_keys[index];
            if (!given.Add(key))
            {
                errors.Add($"{key} is given twice");
            }
            else if (int.TryParse(part.AsSpan(equals + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value >= least && value <= most)
            {
                model = set(model, value);
            }
            else
            {
                errors.Add(string.Create(CultureInfo.InvariantCulture, $"{key}={part[(equals + 1)..]}: a whole number from {least} to {most} is expected"));
            }
        }

        return errors.Count == 0 ? model : throw new FormatException(string.Join("; ", errors));
    }
}
