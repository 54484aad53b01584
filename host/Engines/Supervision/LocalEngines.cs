using System.Collections.Concurrent;
using System.Globalization;
using ScriptedServe.Contracts;

namespace ScriptedServe.Host.Engines.Supervision;

/// <summary>What all local engines of a host have in common, from its options.</summary>
/// <param name="SecretFile">The cluster's secret; null: the user's own, which engines find by themselves.</param>
/// <param name="Options">Passed on to each engine, as in <see cref="EngineLaunch.Options"/>.</param>
/// <param name="Devices">One an engine, in turns: <c>cpu</c>, or <c>cuda:0</c>, <c>cuda:1</c>.</param>
internal sealed record LocalEngineSettings(int Count, string ModelFolder, IReadOnlyList<string> Devices, int Threads, string? SecretFile, IReadOnlyList<(string Name, string Value)> Options)
{
    /// <summary>Of all engines together, as many for each; empty: the system places their threads.</summary>
    public IReadOnlyList<int> Processors { get; init; } = [];

    /// <summary>What an engine is given besides what all have.</summary>
    public IReadOnlyList<(string Name, string Value)> OptionsOf(int engine)
    {
        var each = Processors.Count / Count;
        return each == 0 ? Options : [.. Options, ("cpus", ProcessorList.Format(Processors.Skip(engine * each).Take(each)))];
    }
}

/// <summary>The engines that this host starts, and the private folder of their sockets.</summary>
internal sealed class LocalEngines : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, LocalEngine> engines = new(StringComparer.Ordinal);
    private readonly PrivateFolder folder;
    private readonly EngineFleet fleet;

    public LocalEngines(EngineFleet fleet, IEngineLauncher launcher, LocalEngineSettings local, SupervisionSettings supervision, TimeProvider time, ILogger<LocalEngines> logger)
    {
        this.fleet = fleet;

        // Who reaches an engine's socket can use the engine.
        folder = PrivateFolder.Create();
        for (var i = 0; i < local.Count; i++)
        {
            var id = $"engine-{i.ToString(CultureInfo.InvariantCulture)}";
            var labels = DefaultLabels(i, local.Count);
            var device = local.Devices[i % local.Devices.Count];
            var options = local.OptionsOf(i);
            engines[id] = new LocalEngine(
                fleet,
                fleet.AddLocal(id, labels),
                launcher,
                launches => new EngineLaunch(
                    id,
                    labels,
                    Path.Combine(folder.Path, string.Create(CultureInfo.InvariantCulture, $"{id}.{launches}.sock")),
                    local.ModelFolder,
                    device,
                    local.Threads,
                    local.SecretFile,
                    options),
                supervision,
                time,
                logger);
        }
    }

    public void Start()
    {
        foreach (var engine in engines.Values)
        {
            engine.Start();
        }
    }

    /// <summary>From now on an engine that ends stays ended: a Ctrl-C at the terminal reaches the engines too.</summary>
    public void StopRestarting()
    {
        foreach (var engine in engines.Values)
        {
            engine.StopRestarting();
        }
    }

    /// <exception cref="FleetException">No local engine of this id.</exception>
    public void Restart(string id) => Find(id).Restart();

    public bool Contains(string id) => engines.ContainsKey(id);

    /// <summary>Ends a local engine for good and takes it out of the fleet.</summary>
    public async Task RemoveAsync(string id)
    {
        var engine = Find(id);
        await EndAsync(engine, "it was removed");
        engines.TryRemove(id, out _);
    }

    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(engines.Values.Select(engine => EndAsync(engine, "the host stops")));
        folder.Dispose();
    }

    /// <summary>The default pair is one prefill and one decode engine; of more, the first half prefills. A single engine has no role: roles fall back to it.</summary>
    internal static IReadOnlyList<string> DefaultLabels(int index, int count) => count < 2 ? [] : index < count / 2 ? ["prefill"] : ["decode"];

    /// <summary>Its status stream is closed first: an engine that is told to end waits for its open streams.</summary>
    private async Task EndAsync(LocalEngine engine, string reason)
    {
        await fleet.DetachAsync(engine.Member.Id, reason);
        await engine.DisposeAsync();
    }

    private LocalEngine Find(string id) =>
        engines.TryGetValue(id, out var engine)
            ? engine
            : throw new FleetException(FleetProblem.NotPossible, $"Engine '{id}' was not started by this host; it has to be restarted where it runs.");
}
