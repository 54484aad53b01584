using System.Collections.Frozen;
using System.Globalization;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>The Options of one version: those configured for its name, under those given when it was activated.</summary>
/// <param name="configured">By option name.</param>
public sealed class RouterOptionValues(IReadOnlyDictionary<string, string> configured) : RouterOptions
{
    private FrozenDictionary<string, string> _values = configured.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);

    public IReadOnlyDictionary<string, string> Values => _values;

    public override string? this[string name] => Volatile.Read(ref _values).GetValueOrDefault(name);

    public override T Get<T>(string name, T fallback)
    {
        if (this[name] is not { } text)
        {
            return fallback;
        }

        return T.TryParse(text, CultureInfo.InvariantCulture, out var value)
            ? value
            : throw new FormatException($"Option {name} is \"{text}\", which is no {typeof(T).Name}");
    }

    /// <summary>Puts values given at an activation above the configured ones.</summary>
    public void Activate(IReadOnlyDictionary<string, string> given)
    {
        var merged = new Dictionary<string, string>(configured, StringComparer.OrdinalIgnoreCase);
        foreach (var (name, value) in given)
        {
            merged[name] = value;
        }

        Volatile.Write(ref _values, merged.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase));
    }
}
