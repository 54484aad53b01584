using System.Threading.Channels;
using ScriptedServe.Host.Scripts.Store;

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

    // What other hosts, or this one from another folder, took over from a file of the name: not new either.
    private HashSet<(string Router, string Hash)> _seenElsewhere = [];
    private readonly Dictionary<string, string> _told = new(StringComparer.Ordinal);
    private bool _remembered;
    private bool _unreadable;
    private FileSystemWatcher? _reports;
    private Task _watching = Task.CompletedTask;

    /// <summary>This folder of this machine, under which the store keeps what was last made of its files.</summary>
    private readonly string _place = $"{Environment.MachineName}:{folder.Root}";

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
        if (!_remembered)
        {
            await Remember(cancellationToken);
            _remembered = true;
        }

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

        await Retire(files, cancellationToken);
    }

    /// <summary>Takes up where the store says the last host left off: a file that has not changed since does not undo what was done after it.</summary>
    private async Task Remember(CancellationToken cancellationToken)
    {
        var known = await catalog.ReadFilesSeen(cancellationToken);
        _seenElsewhere = [.. known.Where(seen => seen.Place != _place).Select(seen => (seen.Router, seen.Hash!))];
        foreach (var seen in known.Where(seen => seen.Place == _place))
        {
            var router = catalog.List().FirstOrDefault(router => router.Name == seen.Router);
            var rejected = router?.Versions.FirstOrDefault(version => version.ContentHash == seen.Hash && version.State == RouterPhase.Rejected);
            if (rejected is null)
            {
                _seen[seen.Router] = new Seen(seen.Hash, Missing: false);
            }
            else if (router!.ActiveVersion is { } active)
            {
                _seen[seen.Router] = new Seen(seen.Hash, Missing: false);
                log.LogWarning("{File}.csx was rejected when it was last saved ({Router}@{Version}); {Router}@{Active} serves", seen.Router, seen.Router, rejected.Version, seen.Router, active);
            }
        }
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

        if (seen.Hash is null && _seenElsewhere.Contains((name, source.Hash)))
        {
            _seen[name] = new Seen(source.Hash, Missing: false);
            return;
        }

        try
        {
            var from = new FileSeen(_place, name, source.Hash);
            var result = await catalog.Put(new RouterSubmission(name, text, new RouterOrigin(ScriptWatcherOptions.Author, file), Activate: true, Seen: from), cancellationToken);

            // The hash of what was put, which may be newer than what was read above; the next look tells.
            _seen[name] = new Seen(result.Source.Hash, Missing: false);
            _told.Remove(name);
            Report(file, result);
        }
        catch (RouterRefusedException e)
        {
            TellOnce(name, $"{file} could not be taken over yet, and is tried again: {e.Message}");
        }
    }

    private void Report(string file, RouterPutResult result)
    {
        foreach (var diagnostic in result.Diagnostics)
        {
            log.Log(diagnostic.IsError ? LogLevel.Error : LogLevel.Warning, "{Diagnostic}", diagnostic.Quoting(result.Source.TextOf).Render());
        }

        if (!result.Accepted)
        {
            log.LogError("{File} was rejected; nothing has changed", file);
        }
    }

    // A file must be missing at two looks: some editors save by deleting first.
    private async Task Retire(List<string> files, CancellationToken cancellationToken)
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
                await catalog.Retire(name, new FileSeen(_place, name, Hash: null), new RouterCause(ScriptWatcherOptions.Author, $"{name}.csx is gone"), cancellationToken);
                log.LogInformation("{Router} was retired with its file {File}.csx", name, name);
            }
            catch (RouterRefusedException e) when (e.Refusal == RouterRefusal.NotFound)
            {
                // It never became a router.
            }
            catch (RouterRefusedException e) when (e.Refusal == RouterRefusal.StoreUnavailable)
            {
                _seen[name] = seen;
                TellOnce(name, $"{name}.csx is gone; its router cannot be retired yet: {e.Message}");
            }
            catch (RouterRefusedException e)
            {
                log.LogWarning("{File}.csx is gone; the loaded version of {Router} goes on serving: {Reason}", name, name, e.Message);
            }
        }
    }

    /// <summary>What goes on at every look is told at the first.</summary>
    private void TellOnce(string name, string text)
    {
        if (_told.GetValueOrDefault(name) != text)
        {
            _told[name] = text;
            log.LogWarning("{Warning}", text);
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
