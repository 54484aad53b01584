using ScriptedServe.Host.Engines;

namespace ScriptedServe.Host.Admin;

/// <summary>An engine as <c>/admin/engines</c> shows it.</summary>
/// <param name="Reason">Why it is in this state, where that is not evident.</param>
/// <param name="TensorParallel">Ranks that its model is divided among.</param>
/// <param name="KvDataType">What keys and values are kept as: f32, bf16 or f16.</param>
/// <param name="KvPageBytes">Bytes of a KV page, all layers.</param>
/// <param name="InFlight">This host's own calls and unused reservations on it.</param>
/// <param name="CachedPages">Pages its prefix cache is believed to hold.</param>
/// <param name="Load">As last reported.</param>
internal sealed record EngineView(
    string Id,
    EngineOrigin Origin,
    string Address,
    EngineState State,
    string? Reason,
    DateTimeOffset Since,
    IReadOnlyList<string> Labels,
    int? ProcessId,
    int Restarts,
    string? Device,
    int? TensorParallel,
    string? Model,
    string? Layout,
    string? KvDataType,
    long? KvPageBytes,
    ulong? Epoch,
    int InFlight,
    int CachedPages,
    EngineLoadView? Load)
{
    public static EngineView Of(EngineMember member) => new(
        member.Id,
        member.Origin,
        member.Address,
        member.State,
        member.Reason,
        member.Since,
        [.. member.Labels.Order(StringComparer.Ordinal)],
        member.ProcessId,
        member.Restarts,
        member.LastStatus?.Model?.Device,
        member.LastStatus?.Model is { } model ? Math.Max(1, model.TensorParallel) : null,
        member.LastStatus?.Model?.Id,
        member.LastStatus?.Layout?.Fingerprint,
        member.LastStatus?.Layout?.DataType,
        member.LastStatus?.Layout?.PageBytes,
        member.LastStatus?.Epoch,
        member.Work.Calls,
        member.Prefixes.Count,
        member.LastStatus?.Load is { } load
            ? new EngineLoadView(
                load.Waiting,
                load.Running,
                load.PrefillTokensQueued,
                load.KvPagesTotal,
                load.KvPagesFree,
                load.KvPagesHeld,
                load.KvPagesCached,
                load.Reservations,
                load.StepUsMean,
                load.DecodeStepUsMean,
                load.TokensGenerated,
                load.TokensPrefilled,
                load.Preemptions)
            : null);
}

/// <summary>See <c>EngineLoad</c> in microserving.proto.</summary>
internal sealed record EngineLoadView(
    int Waiting,
    int Running,
    int PrefillTokensQueued,
    int KvPagesTotal,
    int KvPagesFree,
    int KvPagesHeld,
    int KvPagesCached,
    int Reservations,
    long StepUsMean,
    long DecodeStepUsMean,
    ulong TokensGenerated,
    ulong TokensPrefilled,
    ulong Preemptions);
