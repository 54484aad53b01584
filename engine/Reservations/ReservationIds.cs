using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace ScriptedServe.Engine.Reservations;

/// <summary>
/// Names of reservations. A name ends with a digest of the tokens reserved for; KV addresses carry it authenticated, so that a sender can tell that it was
/// asked to fill the pages with the KV of other tokens, which the receiver could not notice and would go on to serve from its prefix cache.
/// </summary>
public static class ReservationIds
{
    private const int DigestBytes = 16;

    /// <param name="prefix">Differs between engines and starts of an engine.</param>
    /// <param name="number">Differs between the reservations of one start.</param>
    /// <param name="tokens">All that is reserved for, matched or not.</param>
    /// <param name="longContext">For their KV as the beginning of a long sequence.</param>
    public static string New(string prefix, long number, ReadOnlySpan<int> tokens, bool longContext = false) =>
        string.Create(CultureInfo.InvariantCulture, $"{prefix}-{number}-{Digest(tokens, longContext)}");

    /// <summary>Whether the reservation is for these tokens.</summary>
    public static bool IsFor(string id, ReadOnlySpan<int> tokens, bool longContext = false) =>
        id.EndsWith("-" + Digest(tokens, longContext), StringComparison.Ordinal);

    private static string Digest(ReadOnlySpan<int> tokens, bool longContext)
    {
        var digest = Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes(tokens)).AsSpan(0, DigestBytes));
        return longContext ? digest + "l" : digest;
    }
}
