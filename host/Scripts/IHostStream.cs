namespace ScriptedServe.Host.Scripts;

/// <summary>A stream of the host's own. A router that hands it on as it is runs no code for each of its chunks.</summary>
internal interface IHostStream;
