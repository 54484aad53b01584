using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>Who an engine is.</summary>
/// <param name="Epoch">Differs for each start.</param>
/// <param name="Device">"cpu" or "cuda:N".</param>
/// <param name="TensorParallel">Ranks that the model is divided among.</param>
public sealed record EngineIdentity(string EngineId, ulong Epoch, IReadOnlyList<string> Labels, string Device, int TensorParallel = 1)
{
    /// <summary>A status with all that does not change while the engine runs.</summary>
    public EngineStatus Describe(ModelDescription model, int contextTokens, KvLayout layout) => new()
    {
        EngineId = EngineId,
        Epoch = Epoch,
        Labels = { Labels },
        Model = new ModelInfo
        {
            Id = model.Id,
            VocabSize = model.VocabSize,
            ContextLength = contextTokens,
            EndTokenIds = { model.EndTokenIds },
            Device = Device,
            TensorParallel = TensorParallel,
        },
        Layout = new KvLayoutInfo
        {
            Fingerprint = layout.Fingerprint,
            Layers = layout.Layers,
            KvHeads = layout.KvHeads,
            HeadDim = layout.HeadDim,
            PageTokens = layout.PageTokens,
            DataType = layout.DataType.Name(),
            PageBytes = layout.PageBytesAllLayers,
        },
    };
}
