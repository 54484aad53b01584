using System.Security.Cryptography;
using System.Text;

namespace ScriptedServe.Contracts;

/// <summary>The secret that engines of one cluster share: it authenticates KV addresses, and the token of calls from other machines is made from it.</summary>
public sealed class ClusterSecret
{
    public const int LeastBytes = 16;
    private const string TokenPurpose = "scriptedserve rpc v1";

    private ClusterSecret(byte[] bytes) => Bytes = bytes;

    public byte[] Bytes { get; }

    /// <summary>What callers from other machines present as <c>authorization: Bearer …</c>: hex HMAC-SHA256 of a fixed text under the secret.</summary>
    public string BearerToken => Convert.ToHexStringLower(HMACSHA256.HashData(Bytes, Encoding.UTF8.GetBytes(TokenPurpose)));

    /// <summary>The user's own secret, where engines that are told of no other find it.</summary>
    public static string DefaultPath => Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".scriptedserve", "cluster-secret");

    /// <summary>The file's bytes, white space at its end aside.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    /// <exception cref="FormatException">It is too short.</exception>
    public static ClusterSecret Read(string path)
    {
        var bytes = File.ReadAllBytes(path).AsSpan().TrimEnd(" \t\r\n"u8);
        return bytes.Length >= LeastBytes
            ? new ClusterSecret(bytes.ToArray())
            : throw new FormatException($"{path} holds {bytes.Length} bytes; a cluster's secret has at least {LeastBytes}");
    }

    /// <summary>
    /// Reads the file, or makes it first: 32 random bytes as hex, for this user's eyes only. Engines that start together agree: the file
    /// appears whole, and the first one wins.
    /// </summary>
    public static ClusterSecret ReadOrCreate(string path)
    {
        if (!File.Exists(path))
        {
            var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
            if (OperatingSystem.IsWindows())
            {
                _ = Directory.CreateDirectory(folder);
            }
            else
            {
                _ = Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            }

            var draft = $"{path}.{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8))}";
            using (var file = new FileStream(draft, options))
            {
                file.Write(Encoding.ASCII.GetBytes(Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32))));
            }

            try
            {
                File.Move(draft, path, overwrite: false);
            }
            catch (IOException) when (File.Exists(path))
            {
                File.Delete(draft);
            }
        }

        return Read(path);
    }
}
