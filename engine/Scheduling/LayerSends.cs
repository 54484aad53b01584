using ScriptedServe.Engine.Compute;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>Sends each layer of a step's KV on its way while the next one is computed.</summary>
internal sealed class LayerSends(IReadOnlyList<SendSequence> sends) : ILayerObserver
{
    public void LayerDone(int layer)
    {
        foreach (var send in sends)
        {
            send.SendLayer(layer, send.Computed + send.Planned);
        }
    }
}
