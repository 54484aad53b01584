using ScriptedServe.Engine.Compute;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>Sends each layer of a step's KV on its way while the next one is computed.</summary>
internal sealed class LayerSends : ILayerObserver
{
    private readonly List<SendSequence> _sends = [];

    /// <summary>From now on, those among the sequences of a plan that send.</summary>
    /// <returns>False if there are none.</returns>
    public bool Take(ReadOnlySpan<Sequence> planned)
    {
        _sends.Clear();
        foreach (var sequence in planned)
        {
            if (sequence is SendSequence send)
            {
                _sends.Add(send);
            }
        }

        return _sends.Count > 0;
    }

    public void LayerDone(int layer)
    {
        foreach (var send in _sends)
        {
            send.SendLayer(layer, send.Begun + send.Planned);
        }
    }
}
