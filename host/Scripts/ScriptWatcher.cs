using System.Threading.Channels;

namespace ScriptedServe.Host.Scripts;

/// <summary>How the scripts folder is watched.</summary>
public sealed class ScriptWatcherOptions
{
    /// <summary>Quiet time after a change before it is read, so that a save in several writes is read once (default 100; 0 to 10000). Setting: watch-quiet-ms.</summary>
    public int QuietMs { get; set; } = 100;

    /// <summary>Between two looks at the folder whether or not a change was reported (default 2000; 100 to 3600000). Setting: watch-rescan-ms.</summary>
    public int RescanMs { get; set; } = 2000;

    public const string Author = "scripts folder";
}

/// <summary>
/// Keeps the routers as the files of the scripts folder are: a changed <c>name.csx</c> becomes a version of <c>name</c>, and active if it loads.
/// Files whose names begin with <c>_</c>, and those in subfolders, are only loaded by others; a change of one recompiles those.
/// </summary>
/// <remarks>
/// A report by the file system is only a hint to look; what counts is the difference between two looks at the texts. So it does not
/// matter whether an editor writes in place or renames, a ConfigMap's link is swapped, or reports are lost.
/// </remarks>
public sealed class ScriptWatcher(ScriptFolder folder, RouterCatalog catalog, ScriptLimits limits, ScriptWatcherOptions options, TimeProvider time, ILogger<ScriptWatcher> log)
    : IHostedService, IAsyncDisposable
{
    private readonly Channel<bool> _hints = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly CancellationTokenSource _stop = new();

    // By router name: the hash of what was last made of its file, and whether the file was missing at the last look.
    private readonly Dictionary<string, Seen> _seen = new(StringComparer.Ordinal);
    private bool _unreadable;
    private FileSystemWatcher? _reports;
    private Task _watching = Task.CompletedTask;

    /// <summary>Reads the folder once, so that its routers serve when this ends, and goes on watching.</summary>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        _reports = Subscribe();
        await TryLook(cancellationToken);
        _watching = Task.Run(() => Watch(_stop.Token), CancellationToken.None);
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        _reports?.Dispose();
        await _stop.CancelAsync();
        await _watching.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync(CancellationToken.None);
        _stop.Dispose();
    }

    /// <summary>Looks at the folder now and takes over what changed. Not at the same time as another look.</summary>
    internal async Task Look(CancellationToken cancellationToken)
    {
        if (RouterFiles() is not { } files)
        {
            return;
        }

        _unreadable = false;
        foreach (var file in files)
        {
            try
            {
                await TakeOver(file, cancellationToken);
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                log.LogError(e, "{File} could not be taken over; trying again at the next look", file);
            }
        }

        Retire(files);
    }

    private async Task Watch(CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                await Hint(TimeSpan.FromMilliseconds(options.RescanMs), cancellationToken);

                // A stream of changes is read now and then all the same.
                for (var i = 0; i < 10 && await Hint(TimeSpan.FromMilliseconds(options.QuietMs), cancellationToken); i++)
                {
                }

                await TryLook(cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
        }
    }

    /// <summary>A look that fails, the first one included, is no reason to stop watching.</summary>
    private async Task TryLook(CancellationToken cancellationToken)
    {
        try
        {
            await Look(cancellationToken);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            log.LogError(e, "Looking at the scripts folder {Folder} failed; trying again", folder.Root);
        }
    }

    /// <returns>True if a change was reported before the time was over.</returns>
    private async Task<bool> Hint(TimeSpan atMost, CancellationToken cancellationToken)
    {
        // Not a timer that cancels: one that fires beside its disposal would cancel a disposed source, on a thread where that ends the process.
        using var over = new CancellationTokenSource(atMost, time);
        using var waiting = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, over.Token);
        try
        {
            return await _hints.Reader.ReadAsync(waiting.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }

    private List<string>? RouterFiles()
    {
        try
        {
            return [.. Directory.EnumerateFiles(folder.Root, "*.csx").Select(Path.GetFileName).OfType<string>()
                .Where(file => file[0] is not ('_' or '.')).Order(StringComparer.Ordinal)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Also while a linked folder is being swapped: no reason to give up what serves.
            if (!_unreadable)
            {
                _unreadable = true;
                log.LogWarning("The scripts folder {Folder} cannot be read: {Error}", folder.Root, e.Message);
            }

            return null;
        }
    }

    private async Task TakeOver(string file, CancellationToken cancellationToken)
    {
        var name = Path.GetFileNameWithoutExtension(file);
        var (text, refusal) = folder.Read(file, limits.SourceBytes);
        var seen = _seen.GetValueOrDefault(name);
        if (text is null || !RouterNames.IsValid(name))
        {
            // Gone again, not readable or no router's name: said once a reason.
            var why = refusal ?? "its name cannot be a router's: use a-z, 0-9, - and _";
            if (seen.Hash != why)
            {
                log.LogWarning("{File} in the scripts folder is passed over: {Reason}", file, why);
                _seen[name] = new Seen(why, Missing: false);
            }

            return;
        }

        var source = ScriptSource.Read(file, text, folder, limits);
        if (source.Hash == seen.Hash)
        {
            _seen[name] = seen with { Missing = false };
            return;
        }

        try
        {
            var result = await catalog.Put(new RouterSubmission(name, text, new RouterOrigin(ScriptWatcherOptions.Author, file), Activate: true), cancellationToken);

            // The hash of what was put, which may be newer than what was read above; the next look tells.
            _seen[name] = new Seen(result.Source.Hash, Missing: false);
            Report(file, result);
        }
        catch (RouterRefusedException e)
        {
            log.LogWarning("{File} could not be taken over yet: {Reason}", file, e.Message);
        }
    }

    private void Report(string file, RouterPutResult result)
    {
        foreach (var diagnostic in result.Diagnostics)
        {
            log.Log(diagnostic.IsError ? LogLevel.Error : LogLevel.Warning, "{Diagnostic}", diagnostic.Render(result.Source.TextOf));
        }

        if (!result.Accepted)
        {
            log.LogError("{File} was rejected; nothing has changed", file);
        }
    }

    // A file must be missing at two looks: some editors save by deleting first.
    private void Retire(List<string> files)
    {
        var present = files.Select(Path.GetFileNameWithoutExtension).ToHashSet(StringComparer.Ordinal);
        foreach (var (name, seen) in _seen.Where(known => !present.Contains(known.Key)).ToList())
        {
            if (!seen.Missing)
            {
                _seen[name] = seen with { Missing = true };
                _hints.Writer.TryWrite(true);
                continue;
            }

            _seen.Remove(name);
            try
            {
                catalog.Delete(name, version: null);
                log.LogInformation("{Router} was retired with its file {File}.csx", name, name);
            }
            catch (RouterRefusedException e) when (e.Refusal == RouterRefusal.NotFound)
            {
                // It never became a router.
            }
            catch (RouterRefusedException e)
            {
                log.LogWarning("{File}.csx is gone; the loaded version of {Router} goes on serving: {Reason}", name, name, e.Message);
            }
        }
    }

    private FileSystemWatcher? Subscribe()
    {
        try
        {
            var reports = new FileSystemWatcher(folder.Root) { IncludeSubdirectories = true };
            reports.Changed += (_, _) => _hints.Writer.TryWrite(true);
            reports.Created += (_, _) => _hints.Writer.TryWrite(true);
            reports.Deleted += (_, _) => _hints.Writer.TryWrite(true);
            reports.Renamed += (_, _) => _hints.Writer.TryWrite(true);
            reports.Error += (_, _) => _hints.Writer.TryWrite(true);
            reports.EnableRaisingEvents = true;
            return reports;
        }
        catch (Exception e) when (e is IOException or ArgumentException or UnauthorizedAccessException)
        {
            log.LogWarning("Changes in {Folder} are not reported ({Error}); it is looked at every {Interval} ms instead", folder.Root, e.Message, options.RescanMs);
            return null;
        }
    }

    private readonly record struct Seen(string? Hash, bool Missing);
}
