using ScriptedServe.Engine.Compute.Checkpoints;

namespace ScriptedServe.Engine.Compute.Caching;

/// <summary>
/// A folder of packed weights, a file for each model and format. What is not there is packed once: (1) a lock of the file's name is taken, which makes
/// processes that start together wait for the first of them; (2) the weights go to a temporary file; (3) that is written to the disk and renamed; (4) it is
/// mapped for reading, by all. A process that is killed leaves a temporary file that the next one removes. A file that is not whole is made anew. Where
/// the folder cannot be used, weights are packed into memory of the process, and the log says why in one line.
/// </summary>
/// <param name="folder">Made, for this user alone, if need be.</param>
/// <param name="limitBytes">Files are removed, those not used for longest first, while all together are larger.</param>
/// <param name="log">Told in one line why weights could not be kept, or were made anew.</param>
public sealed class WeightCache(string folder, long limitBytes, TimeProvider time, Action<string> log)
{
    /// <summary>A file that nobody used for this long is removed.</summary>
    public static readonly TimeSpan Kept = TimeSpan.FromDays(30);

    private const string WeightsSuffix = ".weights";
    private const string TemporarySuffix = ".tmp";
    private const string LockSuffix = ".lock";

    /// <summary>Room that is left to others on the disk.</summary>
    private const long SpareDiskBytes = 256L << 20;

    /// <summary>No start takes this long: the process that made such a temporary file is gone.</summary>
    private static readonly TimeSpan AbandonedAfter = TimeSpan.FromDays(1);

    private int _packed;

    /// <summary>How often weights were packed into a file.</summary>
    public int Packed => _packed;

    /// <summary>The weights of this key, mapped; null where they cannot be kept in a file, which the log was told.</summary>
    /// <param name="key">32 bytes that change with anything that changes the packed weights.</param>
    /// <param name="bytes">Of all weights.</param>
    /// <param name="pack">Writes all weights.</param>
    /// <exception cref="ModelLoadException">Thrown by <paramref name="pack"/>.</exception>
    internal WeightMemory? Open(byte[] key, long bytes, int workers, Action<IWeightTarget> pack)
    {
        string path = Path.Combine(folder, Convert.ToHexStringLower(key) + WeightsSuffix);
        try
        {
            if (TryOpen(path, key, bytes) is { } ready)
            {
                return ready;
            }

            MakeFolder();
            using (FileLock.Take(path + LockSuffix))
            {
                return TryOpen(path, key, bytes) ?? Make(path, key, bytes, workers, pack);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            log($"weights are not shared with other engines (--weight-cache {folder}): {e.Message}");
            return null;
        }
    }

    private WeightMemory? TryOpen(string path, byte[] key, long bytes)
    {
        try
        {
            if (WeightFile.Open(path, key, bytes) is not { } memory)
            {
                return null;
            }

            MarkUsed(path);
            return memory;
        }
        catch (InvalidDataException e)
        {
            log($"{path} is made anew: {e.Message}");
            File.Delete(path);
            return null;
        }
    }

    private WeightMemory Make(string path, byte[] key, long bytes, int workers, Action<IWeightTarget> pack)
    {
        Remove(Path.GetFileName(path) + ".*" + TemporarySuffix, _ => true);
        CheckRoom(WeightFile.FileBytes(bytes));
        string temporary = $"{path}.{Guid.NewGuid():N}{TemporarySuffix}";
        try
        {
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.ReadWrite, Share = FileShare.ReadWrite };
            if (!OperatingSystem.IsWindows())
            {
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            }

            using (var file = new FileStream(temporary, options))
            {
                using (var target = new WeightFile.Target(file.SafeFileHandle, workers))
                {
                    pack(target);
                }

                WeightFile.Finish(file.SafeFileHandle, temporary, key, bytes);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }

        Interlocked.Increment(ref _packed);
        MarkUsed(path);
        Prune(path);
        return WeightFile.Open(path, key, bytes) ?? throw new IOException($"{path} is gone");
    }

    private void MakeFolder()
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(folder);
        }
        else
        {
            Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private void CheckRoom(long needed)
    {
        if (needed > limitBytes)
        {
            throw new IOException($"they take {needed} bytes, more than --weight-cache-limit {limitBytes}");
        }

        if (new DriveInfo(folder).AvailableFreeSpace is var free && free < needed + SpareDiskBytes)
        {
            throw new IOException($"the disk has {free} bytes left, they take {needed}, and {SpareDiskBytes} are left to others");
        }
    }

    /// <summary>The time of the last use is that of the last change, which nothing else makes.</summary>
    private void MarkUsed(string path)
    {
        try
        {
            File.SetLastWriteTimeUtc(path, time.GetUtcNow().UtcDateTime);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A folder that may be read only; whoever writes it prunes it.
        }
    }

    /// <summary>Removes what is old, and then what was not used for longest. Who has a removed file mapped keeps it.</summary>
    private void Prune(string newest)
    {
        var now = time.GetUtcNow().UtcDateTime;
        Remove("*" + TemporarySuffix, file => now - file.LastWriteTimeUtc > AbandonedAfter);
        long total = 0;
        var byUse = new DirectoryInfo(folder).EnumerateFiles("*" + WeightsSuffix).OrderByDescending(file => file.FullName == newest).ThenByDescending(file => file.LastWriteTimeUtc);
        foreach (var file in byUse)
        {
            total += file.Length;
            if (file.FullName != newest && (total > limitBytes || now - file.LastWriteTimeUtc > Kept))
            {
                total -= file.Length;
                Remove(file.Name + "*", _ => true);
            }
        }
    }

    private void Remove(string pattern, Func<FileInfo, bool> old)
    {
        foreach (var file in new DirectoryInfo(folder).EnumerateFiles(pattern).Where(old).ToList())
        {
            try
            {
                file.Delete();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Another process was faster, or it is another user's.
            }
        }
    }
}
