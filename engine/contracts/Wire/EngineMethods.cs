namespace ScriptedServe.Contracts.Wire;

/// <summary>The paths of the service's methods.</summary>
internal static class EngineMethods
{
    private const string Service = "/scriptedserve.v1.Engine/";

    public const string PrepRecv = Service + "PrepRecv";
    public const string RemoteSend = Service + "RemoteSend";
    public const string StartGenerate = Service + "StartGenerate";
    public const string Release = Service + "Release";
    public const string Abort = Service + "Abort";
    public const string GetStatus = Service + "GetStatus";
    public const string WatchStatus = Service + "WatchStatus";
    public const string Drain = Service + "Drain";
}
