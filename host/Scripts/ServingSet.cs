using System.Collections.Immutable;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Scripts;

/// <summary>What requests of a name see, as one value: publishing a new one is a single reference write.</summary>
/// <param name="Canary">Loaded beside the active version, with the rule by which it takes requests.</param>
/// <param name="Usable">Loaded and active versions by number.</param>
internal sealed record ServingSet(
    RouterVersion? Active, (RouterVersion Version, RouterCanary Rule)? Canary, ImmutableDictionary<int, RouterVersion> Usable, ImmutableSortedDictionary<string, int> Labels)
{
    public static ServingSet Empty { get; } = new(null, null, ImmutableDictionary<int, RouterVersion>.Empty, ImmutableSortedDictionary<string, int>.Empty);

    /// <summary>The version for one request; null if there is none.</summary>
    /// <param name="wanted">Null for the one that serves the name.</param>
    public RouterVersion? Choose(string router, VersionSelector? wanted, string requestId, IReadOnlyDictionary<string, string>? headers) => wanted switch
    {
        { Number: { } number } => Usable.GetValueOrDefault(number),
        { Label: { } label } => Labels.TryGetValue(label, out var number) ? Usable.GetValueOrDefault(number) : null,
        _ when Canary is var (version, rule) && CanaryChoice.Takes(router, rule, requestId, headers) => version,
        _ => Active,
    };
}

/// <summary>Decides which requests a canary takes.</summary>
internal static class CanaryChoice
{
    private const uint Parts = 1_000_000;

    /// <summary>
    /// By the value of the rule's header, or by the request's id where there is none: the same value always falls on the same side, on every
    /// host, and what a canary takes at a share it also takes at a greater one.
    /// </summary>
    public static bool Takes(string router, RouterCanary rule, string requestId, IReadOnlyDictionary<string, string>? headers)
    {
        var key = rule.Header is { } header && headers?.GetValueOrDefault(header) is { Length: > 0 } value ? value : requestId;
        return Mix(Add(Add(Add(14695981039346656037, router), "@" + rule.Version), "/" + key)) % Parts < rule.Share / 100 * Parts;
    }

    // FNV-1a; the same on every machine, which string.GetHashCode is not.
    private static ulong Add(ulong hash, string text)
    {
        foreach (var c in text)
        {
            hash = (hash ^ c) * 1099511628211;
        }

        return hash;
    }

    // MurmurHash3's finalizer: FNV's low bits alone are not even.
    private static ulong Mix(ulong hash)
    {
        hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
        hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
        return hash ^ (hash >> 33);
    }
}
