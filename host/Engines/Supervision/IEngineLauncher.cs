namespace ScriptedServe.Host.Engines.Supervision;

/// <summary>What a local engine is started with. Values pass to the engine's options of the same names.</summary>
/// <param name="Listen">A unix socket's path, new for each launch.</param>
/// <param name="SecretFile">Null: the user's own.</param>
/// <param name="Options">Further options, name and value, as <c>kv-memory</c>; the engine has its defaults for what is not among them.</param>
internal sealed record EngineLaunch(
    string Id,
    IReadOnlyList<string> Labels,
    string Listen,
    string ModelFolder,
    string Device,
    int Threads,
    string? SecretFile,
    IReadOnlyList<(string Name, string Value)> Options);

/// <summary>Starts engine processes.</summary>
internal interface IEngineLauncher
{
    /// <param name="line">Told of each line the process writes; from any thread.</param>
    /// <exception cref="EngineStartException">It could not be started.</exception>
    IEngineProcess Launch(EngineLaunch launch, Action<string> line);
}

/// <summary>A process that was started.</summary>
internal interface IEngineProcess : IDisposable
{
    int Id { get; }

    /// <summary>Completes with the exit code, once all its lines have been told.</summary>
    Task<int> Exited { get; }

    /// <summary>Asks it to end (SIGTERM). Does nothing if it has ended.</summary>
    void Terminate();

    /// <summary>Ends it (SIGKILL). Does nothing if it has ended.</summary>
    void Kill();
}

/// <summary>No process came to be. The message says what is missing and where it was looked for.</summary>
public sealed class EngineStartException(string message, Exception? inner = null) : Exception(message, inner);
