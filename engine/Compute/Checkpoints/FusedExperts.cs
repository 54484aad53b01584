namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// Folders that keep all experts of a block in two tensors, as newer versions of transformers hold them: <c>gate_up_proj</c>
/// <c>[experts, 2 * feedForward, hidden]</c>, an expert's gate before its up, and <c>down_proj</c> <c>[experts, hidden, feedForward]</c>.
/// </summary>
internal static class FusedExperts
{
    private const string GateUp = "gate_up_proj";
    private const string Down = "down_proj";
    private const string Experts = "experts.";

    private static readonly string[] Places = ["mlp." + Experts, "block_sparse_moe." + Experts];

    /// <summary>Where the checkpoint has such tensors: makes each expert's matrices known to it by names of their own, and gives these. Else the names as they are.</summary>
    public static TensorNames Find(TensorNames names, Checkpoint checkpoint, DecoderConfig config)
    {
        int first = config.Blocks.ToList().FindIndex(block => block.Experts is not null);
        if (first < 0 || Array.Find(Places, place => checkpoint.Has(names.Block(first) + place + GateUp)) is not { } found)
        {
            return names;
        }

        names = names with
        {
            Router = found[..^Experts.Length] + "gate",
            Experts = found,
            ExpertGateUp = [".gate_proj", ".up_proj"],
            ExpertDown = "." + Down,
        };
        for (int layer = first; layer < config.Layers; layer++)
        {
            if (config.Blocks[layer].Experts is { } experts)
            {
                AddParts(names, checkpoint, names.Block(layer) + found, experts, config.Hidden);
            }
        }

        return names;
    }

    private static void AddParts(TensorNames names, Checkpoint checkpoint, string place, ExpertsConfig experts, int hidden)
    {
        int width = experts.FeedForward;
        long[] gateUp = [experts.Count, 2 * width, hidden], down = [experts.Count, hidden, width];
        for (int expert = 0; expert < experts.Count; expert++)
        {
            checkpoint.AddPart($"{place}{expert}{names.ExpertGateUp[0]}.weight", new(place + GateUp, gateUp, 2 * expert * width, width));
            checkpoint.AddPart($"{place}{expert}{names.ExpertGateUp[1]}.weight", new(place + GateUp, gateUp, (2 * expert + 1) * width, width));
            checkpoint.AddPart($"{place}{expert}{names.ExpertDown}.weight", new(place + Down, down, expert * hidden, hidden));
        }
    }
}
