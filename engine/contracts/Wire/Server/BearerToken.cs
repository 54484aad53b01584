using System.Security.Cryptography;
using System.Text;

namespace ScriptedServe.Contracts.Wire.Server;

/// <summary>A shared secret that callers present as <c>Authorization: Bearer …</c>.</summary>
public sealed class BearerToken
{
    private const string Scheme = "Bearer ";
    private readonly byte[] _hash;

    public BearerToken(string token) => _hash = Hash(token);

    /// <summary>Compares in a time that tells nothing about the secret, its length included.</summary>
    public bool Accepts(string? authorization) =>
        authorization is not null
        && authorization.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase)
        && CryptographicOperations.FixedTimeEquals(_hash, Hash(authorization[Scheme.Length..].Trim()));

    private static byte[] Hash(string token) => SHA256.HashData(Encoding.UTF8.GetBytes(token));
}
