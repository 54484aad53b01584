using System.Collections.Frozen;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>How an engine came into the fleet.</summary>
public enum EngineOrigin
{
    /// <summary>Spawned and supervised by this host.</summary>
    Local,

    /// <summary>Runs on its own and was attached by its address.</summary>
    Attached,
}

/// <summary>
/// One engine of the fleet: the mutable shell around what is known of it. <see cref="EngineFleet"/> alone writes state, labels
/// and connection, under its lock; everyone may read.
/// </summary>
internal sealed class EngineMember(string id, EngineOrigin origin, string address, IEnumerable<string> labels, DateTimeOffset now)
{
    private volatile FrozenSet<string> labels = labels.ToFrozenSet(StringComparer.Ordinal);
    private volatile EngineConnection? connection;
    private volatile Wire.EngineStatus? lastStatus;

    public string Id { get; } = id;

    public EngineOrigin Origin { get; } = origin;

    /// <summary>Changes with each launch of a local engine.</summary>
    public string Address { get; set; } = address;

    public FrozenSet<string> Labels
    {
        get => labels;
        set => labels = value;
    }

    /// <summary>Set by the operator: later reports of the engine's own labels do not replace them.</summary>
    public bool LabelsAreSet { get; set; } = labels.Any();

    public EngineState State { get; set; } = EngineState.Starting;

    /// <summary>Why it is in this state, where that is not evident.</summary>
    public string? Reason { get; set; }

    public DateTimeOffset Since { get; set; } = now;

    /// <summary>Process id of a local engine that runs.</summary>
    public int? ProcessId { get; set; }

    /// <summary>Times its process was started again.</summary>
    public int Restarts { get; set; }

    /// <summary>Null while the engine cannot be reached.</summary>
    public EngineConnection? Connection
    {
        get => connection;
        set => connection = value;
    }

    public Wire.EngineStatus? LastStatus
    {
        get => lastStatus;
        set => lastStatus = value;
    }

    public PrefixIndex Prefixes { get; } = new();

    public WorkInFlight Work { get; } = new();
}
