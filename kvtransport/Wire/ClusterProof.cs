using System.Security.Cryptography;

namespace ScriptedServe.KvTransport.Wire;

/// <summary>
/// How a sender shows that it is of the cluster before anything of it is kept: the receiver greets with a challenge that it never repeats, and the sender answers with
/// the challenge's HMAC-SHA256 under a key derived from the cluster secret. It costs half a round trip a connection, and connections are kept.
/// </summary>
/// <param name="clusterSecret">The same on all engines of a cluster.</param>
internal sealed class ClusterProof(byte[] clusterSecret)
{
    private const int ChallengeBytes = 32;

    // A code made for other purposes of the secret must not pass here.
    private readonly byte[] _key = HMACSHA256.HashData(clusterSecret, "ScriptedServe KV sender"u8);

    public static byte[] NewChallenge() => RandomNumberGenerator.GetBytes(ChallengeBytes);

    public byte[] Of(ReadOnlySpan<byte> challenge) => HMACSHA256.HashData(_key, challenge);

    public bool Accepts(ReadOnlySpan<byte> challenge, ReadOnlySpan<byte> proof) => CryptographicOperations.FixedTimeEquals(Of(challenge), proof);
}
