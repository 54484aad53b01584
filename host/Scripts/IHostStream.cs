namespace ScriptedServe.Host.Scripts;

/// <summary>A stream of the host's own. A router that hands it on as it is runs no code for each of its chunks.</summary>
internal interface IHostStream
{
    /// <summary>
    /// The host reads it: its moves may end on the thread that reads an engine's connection, which no code of a script may run on. Set before the first move.
    /// </summary>
    void ReadByHost();
}
