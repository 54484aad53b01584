using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Requests;

/// <summary>A checked request on its way to a router.</summary>
/// <param name="Id">Unique; of the form <c>req-…</c>, with <c>-1</c>, <c>-2</c>… for further choices.</param>
/// <param name="Router">Value of <c>X-Router</c>, or null for the default.</param>
public sealed record RequestSpec(
    string Id,
    ReadOnlyMemory<int> PromptTokens,
    Sampling Sampling,
    IReadOnlyDictionary<string, string> Headers,
    string? Router,
    DateTimeOffset? Deadline);

/// <summary>Takes requests through a router to the engines, and records what happened.</summary>
public interface IRequestRunner
{
    /// <summary>Pins the router at once; engines are called when the chunks are enumerated.</summary>
    /// <exception cref="Scripts.RouterNotFoundException">No such router.</exception>
    RunningRequest Start(RequestSpec spec);
}

/// <summary>A request whose router is pinned. Dispose it in every case: that releases the pin and all the request holds on engines.</summary>
public abstract class RunningRequest : IAsyncDisposable
{
    /// <summary><c>name@version</c> of the pinned router.</summary>
    public abstract string Router { get; }

    /// <summary>
    /// Runs the router. At most once. Ends after the chunk with a finish reason. Fails with <see cref="EngineException"/>,
    /// <see cref="RouterFailedException"/> or <see cref="OperationCanceledException"/>.
    /// </summary>
    public abstract IAsyncEnumerable<Chunk> Chunks(CancellationToken cancellationToken);

    public abstract ValueTask DisposeAsync();
}

/// <summary>The script itself failed: it threw, or ended its stream without a finish reason. The message names router, version, file and line.</summary>
public sealed class RouterFailedException(string message, Exception? inner = null) : Exception(message, inner);
