using System.Globalization;

namespace ScriptedServe.Host.Scripts;

/// <summary>How routers and their versions are named: <c>name</c>, <c>name@version</c> or <c>name@label</c>.</summary>
public static class RouterNames
{
    public const int MaxLength = 64;

    public static bool IsValid(string name) =>
        name.Length is > 0 and <= MaxLength && name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '_' or '-') && name[0] is not '_';

    /// <exception cref="RouterRefusedException">The name is not valid.</exception>
    public static void Check(string name)
    {
        if (!IsValid(name))
        {
            throw new RouterRefusedException(
                RouterRefusal.Malformed, "invalid_router_name",
                $"\"{name}\" cannot name a router: use 1 to {MaxLength} of a-z, 0-9, - and _, not beginning with _ (those files are only loaded by others)");
        }
    }

    /// <summary>Splits a spec; the version is null if none is named.</summary>
    /// <returns>False if what follows the @ is no version.</returns>
    public static bool TryParse(string spec, out string name, out VersionSelector? version)
    {
        var at = spec.IndexOf('@', StringComparison.Ordinal);
        name = at < 0 ? spec : spec[..at];
        version = at < 0 ? null : VersionSelector.Parse(spec[(at + 1)..]);
        return at < 0 || version is not null;
    }
}

/// <summary>Names a version of a router: by its number, or by a label.</summary>
public readonly record struct VersionSelector
{
    public const int LabelMaxLength = 32;

    private VersionSelector(int? number, string? label) => (Number, Label) = (number, label);

    public int? Number { get; }

    public string? Label { get; }

    /// <param name="number">From 1.</param>
    public static VersionSelector Of(int number) => new(number, null);

    /// <returns>Null if it is neither a number from 1 nor a label.</returns>
    public static VersionSelector? Parse(string text) =>
        IsLabel(text) ? new(null, text)
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0 ? new(number, null)
        : null;

    /// <summary>Labels begin with a letter, so that none looks like a number.</summary>
    public static bool IsLabel(string text) =>
        text.Length is > 0 and <= LabelMaxLength && char.IsAsciiLetterLower(text[0]) && text.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '_' or '-');

    public override string ToString() => Label ?? Number?.ToString(CultureInfo.InvariantCulture) ?? "";
}
