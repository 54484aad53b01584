using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Requests;

/// <summary>Why a request failed, by whose fault it was. A client that leaves is not a failure.</summary>
public enum RequestFault : byte
{
    None,

    /// <summary>An engine refused what the client asked for (4xx).</summary>
    Client,

    /// <summary>The script threw.</summary>
    Script,

    /// <summary>The script passed a limit: time, depth, allocation, sub-calls.</summary>
    Limit,

    /// <summary>The script's stream broke the contract: no finish reason, too many tokens.</summary>
    Contract,

    /// <summary>An engine was lost, refused or failed, and the script let it pass.</summary>
    Engine,

    /// <summary>An engine had no room, and the script let it pass.</summary>
    Overloaded,

    /// <summary>The request did not end within its deadline.</summary>
    Timeout,

    /// <summary>The host stopped.</summary>
    Stopping,
}

internal static class RequestFaults
{
    public static int Count { get; } = Enum.GetValues<RequestFault>().Length;

    /// <summary>Of an exception that came out of a script and is not the script's end by deadline or stop.</summary>
    public static RequestFault Of(Exception failure) => failure switch
    {
        RouterFailedException { InnerException: null } => RequestFault.Contract,
        RouterFailedException { InnerException: { } inner } => Scripts.ScriptErrors.Unwrap(inner) is ScriptLimitException ? RequestFault.Limit : RequestFault.Script,
        EngineException { Error: EngineError.Invalid } => RequestFault.Client,
        EngineException { Error: EngineError.Overloaded } => RequestFault.Overloaded,
        EngineException => RequestFault.Engine,
        _ => RequestFault.Script,
    };
}
