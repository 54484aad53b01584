using ScriptedServe.Contracts;

namespace ScriptedServe.Host.Engines;

/// <summary>Makes callers of engines.</summary>
public interface IEngineConnector
{
    /// <summary>Opens nothing yet: the first call connects. The caller disposes the result if it is disposable.</summary>
    /// <param name="address"><c>http://host:port</c> or <c>unix:path</c>.</param>
    /// <exception cref="FormatException">No such address.</exception>
    IEngineApi Connect(string address);
}

/// <summary>
/// An engine while it can be reached: from its first answer until it is lost. Calls hold the connection they began on, so that
/// losing the engine ends exactly those, also where the socket stays silent.
/// </summary>
internal sealed class EngineConnection(IEngineApi api) : IDisposable
{
    private readonly CancellationTokenSource lost = new();

    public IEngineApi Api { get; } = api;

    /// <summary>Fires when the engine is lost; <see cref="LostBecause"/> is set before.</summary>
    public CancellationToken Lost => lost.Token;

    public string? LostBecause { get; private set; }

    public void Lose(string reason)
    {
        LostBecause ??= reason;
        lost.Cancel();
    }

    // The source is not disposed while calls may link to it; without a timer it holds nothing.
    public void Dispose() => Lose("it left the fleet");
}
