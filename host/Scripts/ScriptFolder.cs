using System.Text;

namespace ScriptedServe.Host.Scripts;

/// <summary>The folder of the scripts, as a router's <c>#load</c> sees it. Paths inside it are relative, with forward slashes.</summary>
/// <param name="root">The folder; it need not exist.</param>
public sealed class ScriptFolder(string root)
{
    /// <summary>As Linux has it.</summary>
    private const int MaxLinks = 40;

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
            // Links, of folders too, may lead to another place in the folder (so do a ConfigMap's), not out of it.
            var real = RealPath(full);
            if (!real.StartsWith(Path.TrimEndingDirectorySeparator(RealPath(Root)) + Path.DirectorySeparatorChar, StringComparison.Ordinal))
            {
                return (null, "it is a link that leads out of the scripts folder");
            }

            // What was checked is what is read.
            using var stream = new FileStream(real, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
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

    /// <summary>The path without links in any of its parts. Parts that do not exist are taken as they are.</summary>
    /// <exception cref="IOException">The links lead in a circle.</exception>
    private static string RealPath(string full)
    {
        var real = Path.GetPathRoot(full)!;
        var rest = new Stack<string>(Parts(full[real.Length..]).Reverse());
        for (var links = 0; rest.TryPop(out var part);)
        {
            if (part is "..")
            {
                real = Path.GetDirectoryName(real) ?? real;
                continue;
            }

            var next = Path.Combine(real, part);
            if (new FileInfo(next).LinkTarget is not { } target)
            {
                real = next;
                continue;
            }

            if (++links > MaxLinks)
            {
                throw new IOException($"more than {MaxLinks} links lead to it");
            }

            var targetRoot = Path.GetPathRoot(target)!;
            real = targetRoot.Length > 0 ? targetRoot : real;
            foreach (var step in Parts(target[targetRoot.Length..]).Reverse())
            {
                rest.Push(step);
            }
        }

        return real;
    }

    private static IEnumerable<string> Parts(string path) =>
        path.Split([Path.DirectorySeparatorChar, Path.AltDirectorySeparatorChar], StringSplitOptions.RemoveEmptyEntries).Where(part => part is not ".");
}
