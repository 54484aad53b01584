using System.Globalization;
using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>What all engines of a fleet must agree on. The host's tokenizer says which model; the first engine that answers settles the KV layout.</summary>
public sealed record FleetModel(string Id, int VocabSize, int ContextLength, string LayoutFingerprint, int PageTokens, string KvDataType)
{
    /// <summary>What engines have to serve before any has answered; their KV layout is still open.</summary>
    internal static FleetModel Expected(string id, int vocabSize, int contextLength) => new(id, vocabSize, contextLength, "", 0, "");

    internal bool IsSettled => LayoutFingerprint.Length > 0;

    internal static FleetModel Of(EngineStatus status) => new(
        status.Model?.Id ?? "",
        status.Model?.VocabSize ?? 0,
        status.Model?.ContextLength ?? 0,
        status.Layout?.Fingerprint ?? "",
        status.Layout?.PageTokens ?? 0,
        status.Layout?.DataType ?? "");

    /// <summary>Null if an engine with <paramref name="other"/> may join; else what differs, both sides named.</summary>
    /// <param name="beside">Models that may be served beside this one: they share its tokenizer, and exchange KV only among themselves.</param>
    internal string? WhyNot(FleetModel other, IReadOnlyCollection<string> beside)
    {
        if (other.VocabSize == VocabSize && other.Id != Id && beside.Contains(other.Id))
        {
            return null;
        }

        if (other.Id != Id || other.VocabSize != VocabSize)
        {
            return string.Create(
                CultureInfo.InvariantCulture,
                $"it serves model '{other.Id}' (vocabulary {other.VocabSize}), this fleet serves '{Id}' (vocabulary {VocabSize})");
        }

        return !IsSettled || other.LayoutFingerprint == LayoutFingerprint
            ? null
            : string.Create(
                CultureInfo.InvariantCulture,
                $"its KV layout is {other.LayoutFingerprint} ({other.KvDataType}, page of {other.PageTokens} tokens), this fleet's is {LayoutFingerprint} ({KvDataType}, page of {PageTokens} tokens): --kv-dtype and --page-tokens are to be the same");
    }
}
