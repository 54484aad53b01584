namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// Where a family's checkpoints keep the weights. Names of a block are relative to <see cref="Block"/> and lack ".weight" and ".bias".
/// Projections listed together are one matrix, their outputs one after the other, whether the checkpoint has them fused or apart.
/// </summary>
internal sealed record TensorNames
{
    /// <summary>Before every name but <see cref="Output"/>.</summary>
    public string Prefix { get; init; } = "model.";

    public string Output { get; init; } = "lm_head";

    /// <summary>Queries, keys, values.</summary>
    public IReadOnlyList<string> Qkv { get; init; } = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

    public string FeedForwardNorm { get; init; } = "post_attention_layernorm";

    /// <summary>Gate, up.</summary>
    public IReadOnlyList<string> GateUp { get; init; } = ["mlp.gate_proj", "mlp.up_proj"];

    public string Router { get; init; } = "mlp.gate";

    /// <summary>Before an expert's number.</summary>
    public string Experts { get; init; } = "mlp.experts.";

    /// <summary>Gate, up; after the expert's number.</summary>
    public IReadOnlyList<string> ExpertGateUp { get; init; } = [".gate_proj", ".up_proj"];

    public string ExpertDown { get; init; } = ".down_proj";

    public string Embedding => Prefix + "embed_tokens";

    public string FinalNorm => Prefix + "norm";

    public string AttentionNorm { get; init; } = "input_layernorm";

    public string QueryNorm { get; init; } = "self_attn.q_norm";

    public string KeyNorm { get; init; } = "self_attn.k_norm";

    public string AttentionOutput { get; init; } = "self_attn.o_proj";

    /// <summary>Only with <see cref="DecoderConfig.PostNorms"/>.</summary>
    public string PostAttentionNorm { get; init; } = "post_attention_layernorm";

    /// <summary>Only with <see cref="DecoderConfig.PostNorms"/>.</summary>
    public string PostFeedForwardNorm { get; init; } = "post_feedforward_layernorm";

    public string Down { get; init; } = "mlp.down_proj";

    /// <summary>
    /// The names that a checkpoint has, where it lacks these: the text half of a larger model has a prefix more, and exports differ in where, and in whether
    /// experts have tensors of their own (<see cref="FusedExperts"/>).
    /// </summary>
    public TensorNames In(Checkpoint checkpoint, DecoderConfig config)
    {
        string[] prefixes = [Prefix, "model.", "language_model.model.", "model.language_model.", ""];
        string[] outputs = [Output, "lm_head", "language_model.lm_head"];
        var names = this with
        {
            Prefix = prefixes.FirstOrDefault(prefix => checkpoint.Has(prefix + "embed_tokens.weight"), Prefix),
            Output = outputs.FirstOrDefault(output => checkpoint.Has(output + ".weight"), Output),
        };
        return FusedExperts.Find(names, checkpoint, config);
    }

    public string Block(int layer) => $"{Prefix}layers.{layer}.";
}
