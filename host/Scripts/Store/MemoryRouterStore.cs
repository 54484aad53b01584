using System.Threading.Channels;

namespace ScriptedServe.Host.Scripts.Store;

/// <summary>Keeps everything in memory, for as long as it lives. Several catalogs may share it, as hosts share a database.</summary>
public sealed class MemoryRouterStore(TimeProvider time) : IRouterStore
{
    private readonly Lock _lock = new();
    private readonly List<LoggedChange> _log = [];
    private readonly Dictionary<string, int> _lastNumbers = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Router, string Hash), int> _numbers = [];
    private readonly SortedDictionary<(string Router, int Number), (StoredVersion Stored, IReadOnlyList<ScriptFile> Files)> _versions = [];
    private readonly Dictionary<(string Place, string Router), FileSeen> _seen = [];
    private event Action? Grown;

    public string Description => "memory";

    public Task<VersionNumber> Number(string router, string hash, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (!_numbers.TryGetValue((router, hash), out var number))
            {
                number = _lastNumbers.GetValueOrDefault(router) + 1;
                _lastNumbers[router] = number;
                _numbers[(router, hash)] = number;
            }

            return Task.FromResult(new VersionNumber(number, _versions.TryGetValue((router, number), out var known) ? known.Stored : null));
        }
    }

    public Task<IReadOnlyList<LoggedChange>> Commit(long after, Func<IReadOnlyList<LoggedChange>, StoreCommit> decide, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        List<LoggedChange> entries;
        lock (_lock)
        {
            entries = [.. _log.Where(entry => entry.Sequence > after)];
            var commit = decide(entries);
            foreach (var change in commit.Changes)
            {
                var entry = new LoggedChange(_log.Count + 1, time.GetUtcNow(), change);
                _log.Add(entry);
                entries.Add(entry);
            }

            if (commit.Version is { } version)
            {
                _versions[(version.Stored.Router, version.Stored.Number)] = version;
                _numbers[(version.Stored.Router, version.Stored.Hash)] = version.Stored.Number;
            }

            foreach (var gone in commit.Changes.Where(change => change is { Kind: RouterChangeKind.Deleted, Version: not null }))
            {
                if (_versions.Remove((gone.Router, gone.Version!.Value), out var deleted))
                {
                    _numbers.Remove((gone.Router, deleted.Stored.Hash));
                }
            }

            if (commit.Seen is { } seen)
            {
                _seen[(seen.Place, seen.Router)] = seen;
            }
        }

        Grown?.Invoke();
        return Task.FromResult<IReadOnlyList<LoggedChange>>(entries);
    }

    public Task<IReadOnlyList<LoggedChange>> ReadLog(long after, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult<IReadOnlyList<LoggedChange>>([.. _log.Where(entry => entry.Sequence > after)]);
        }
    }

    public Task<IReadOnlyList<StoredVersion>> ReadVersions(string router, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult<IReadOnlyList<StoredVersion>>([.. _versions.Values.Select(version => version.Stored).Where(version => version.Router == router)]);
        }
    }

    public Task<IReadOnlyList<ScriptFile>?> ReadFiles(string router, int number, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult(_versions.TryGetValue((router, number), out var version) ? version.Files : null);
        }
    }

    public Task<IReadOnlyList<FileSeen>> ReadFilesSeen(CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult<IReadOnlyList<FileSeen>>([.. _seen.Values.Where(seen => seen.Hash is not null)]);
        }
    }

    public async Task Follow(Func<Task> grown, CancellationToken cancellationToken)
    {
        var hints = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
        Action hint = () => hints.Writer.TryWrite(true);
        Grown += hint;
        hint();
        try
        {
            await foreach (var _ in hints.Reader.ReadAllAsync(cancellationToken))
            {
                await grown();
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
        }
        finally
        {
            Grown -= hint;
        }
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
