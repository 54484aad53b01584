namespace ScriptedServe.Contracts.Wire.Server;

/// <summary>Limits and access of a gRPC server.</summary>
public sealed record RpcServerOptions
{
    /// <summary>Largest request message in bytes; 16 MiB by default. A larger one is RESOURCE_EXHAUSTED.</summary>
    public int MaxMessageBytes { get; init; } = 16 << 20;

    /// <summary>If set, each call must carry it as <c>authorization: Bearer …</c>, or is UNAUTHENTICATED. None by default.</summary>
    public string? BearerToken { get; init; }
}
