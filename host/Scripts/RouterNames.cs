using System.Globalization;

namespace ScriptedServe.Host.Scripts;

/// <summary>How routers and their versions are named: <c>name</c> or <c>name@version</c>.</summary>
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
    public static bool TryParse(string spec, out string name, out int? version)
    {
        var at = spec.IndexOf('@', StringComparison.Ordinal);
        name = at < 0 ? spec : spec[..at];
        version = null;
        if (at < 0)
        {
            return true;
        }

        var good = int.TryParse(spec.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0;
        version = number;
        return good;
    }
}
