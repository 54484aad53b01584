using System.Text;

namespace ScriptedServe.Host.Scripts;

/// <summary>The folder of the scripts, as a router's <c>#load</c> sees it. Paths inside it are relative, with forward slashes.</summary>
/// <param name="root">The folder; it need not exist.</param>
public sealed class ScriptFolder(string root)
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    public string Root { get; } = Path.GetFullPath(root);

    /// <summary>Where a path named in a file leads, inside the folder; null if it leads out of it.</summary>
    /// <param name="path">As written after <c>#load</c>.</param>
    /// <param name="from">The file that names it.</param>
    public static string? Resolve(string path, string? from)
    {
        if (path.Length == 0 || Path.IsPathRooted(path) || path.Contains('\\', StringComparison.Ordinal) || path.Contains('\0', StringComparison.Ordinal))
        {
            return null;
        }

        var parts = new List<string>((from ?? "").Split('/')[..^1]);
        foreach (var part in path.Split('/'))
        {
            switch (part)
            {
                case "" or ".":
                    break;
                case ".." when parts.Count == 0:
                    return null;
                case "..":
                    parts.RemoveAt(parts.Count - 1);
                    break;
                default:
                    parts.Add(part);
                    break;
            }
        }

        return parts.Count == 0 ? null : string.Join('/', parts);
    }

    /// <summary>Reads a file of the folder.</summary>
    /// <param name="path">As <see cref="Resolve"/> gives it.</param>
    /// <param name="maxBytes">Larger files are refused.</param>
    /// <returns>The text, or why there is none.</returns>
    public (string? Text, string? Refusal) Read(string path, int maxBytes)
    {
        var full = Path.Combine(Root, path);
        try
        {
            // A link may lead to another place in the folder (so do a ConfigMap's), not out of it.
            var target = File.ResolveLinkTarget(full, returnFinalTarget: true);
            if (target is not null && !IsInside(target.FullName))
            {
                return (null, "it is a link that leads out of the scripts folder");
            }

            using var stream = new FileStream(full, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            if (stream.Length > maxBytes)
            {
                return (null, $"it has {stream.Length} bytes; the limit is {maxBytes} (setting script-source-kib)");
            }

            using var reader = new StreamReader(stream, StrictUtf8, detectEncodingFromByteOrderMarks: true);
            return (reader.ReadToEnd(), null);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return (null, "there is no such file in the scripts folder");
        }
        catch (DecoderFallbackException)
        {
            return (null, "it is not valid UTF-8");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return (null, $"it cannot be read: {e.Message}");
        }
    }

    private bool IsInside(string full)
    {
        var real = new DirectoryInfo(Root).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? Root;
        return Under(Root) || Under(real);

        bool Under(string folder) => Path.GetFullPath(full).StartsWith(Path.TrimEndingDirectorySeparator(folder) + Path.DirectorySeparatorChar, StringComparison.Ordinal);
    }
}
