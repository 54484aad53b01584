using System.Text.Json.Nodes;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>A tensor under its two names.</summary>
/// <param name="HuggingFace">Its name in the safetensors file.</param>
/// <param name="Gguf">Its name in the GGUF file.</param>
/// <param name="Rows">Outputs; 1 for a norm.</param>
/// <param name="PairedHeads">
/// Heads whose rows GGUF's llama architecture keeps in another order: it rotates neighbouring rows of a head, Hugging Face row i with row i + half. 0 for all
/// tensors but queries and keys.
/// </param>
internal sealed record LlamaTensor(string HuggingFace, string Gguf, int Rows, int Columns, int PairedHeads = 0)
{
    public bool IsNorm => Rows == 1;

    public long Elements => (long)Rows * Columns;

    /// <summary>The row of the Hugging Face tensor that is row <paramref name="row"/> of the GGUF tensor.</summary>
    public int SourceOfGgufRow(int row)
    {
        if (PairedHeads == 0)
        {
            return row;
        }

        int headDim = Rows / PairedHeads;
        var (head, inHead) = (row / headDim, row % headDim);
        return head * headDim + inHead % 2 * (headDim / 2) + inHead / 2;
    }
}

/// <summary>The size of a model of the Llama architecture. Widths are multiples of 32, the group of Q8_0.</summary>
internal sealed record LlamaShape(string Name, int Layers, int Hidden, int Heads, int KvHeads, int FeedForward, int Vocab)
{
    public const int Context = 40960;
    public const double RopeTheta = 10000;
    public const double NormEpsilon = 1e-5;

    public static IReadOnlyList<LlamaShape> All { get; } =
    [
        new("tiny", Layers: 6, Hidden: 256, Heads: 8, KvHeads: 4, FeedForward: 704, Vocab: 4096),
        new("0.3b", Layers: 20, Hidden: 1024, Heads: 16, KvHeads: 8, FeedForward: 2816, Vocab: 32000),
    ];

    public int HeadDim => Hidden / Heads;

    public long Parameters => Tensors().Sum(tensor => tensor.Elements);

    /// <summary>Floating-point operations of the products that a prompt's token takes, its logits and attention apart.</summary>
    public double OperationsPerPromptToken =>
        2.0 * Tensors().Where(tensor => !tensor.IsNorm && tensor.Gguf is not ("token_embd" or "output")).Sum(tensor => tensor.Elements);

    public IEnumerable<LlamaTensor> Tensors()
    {
        yield return new("model.embed_tokens", "token_embd", Vocab, Hidden);
        for (int layer = 0; layer < Layers; layer++)
        {
            var (huggingFace, gguf) = ($"model.layers.{layer}.", $"blk.{layer}.");
            yield return new(huggingFace + "input_layernorm", gguf + "attn_norm", 1, Hidden);
            yield return new(huggingFace + "self_attn.q_proj", gguf + "attn_q", Hidden, Hidden, Heads);
            yield return new(huggingFace + "self_attn.k_proj", gguf + "attn_k", KvHeads * HeadDim, Hidden, KvHeads);
            yield return new(huggingFace + "self_attn.v_proj", gguf + "attn_v", KvHeads * HeadDim, Hidden);
            yield return new(huggingFace + "self_attn.o_proj", gguf + "attn_output", Hidden, Hidden);
            yield return new(huggingFace + "post_attention_layernorm", gguf + "ffn_norm", 1, Hidden);
            yield return new(huggingFace + "mlp.gate_proj", gguf + "ffn_gate", FeedForward, Hidden);
            yield return new(huggingFace + "mlp.up_proj", gguf + "ffn_up", FeedForward, Hidden);
            yield return new(huggingFace + "mlp.down_proj", gguf + "ffn_down", Hidden, FeedForward);
        }

        yield return new("model.norm", "output_norm", 1, Hidden);
        yield return new("lm_head", "output", Vocab, Hidden);
    }

    /// <summary>config.json.</summary>
    public JsonObject Config() => new()
    {
        ["architectures"] = new JsonArray("LlamaForCausalLM"),
        ["model_type"] = "llama",
        ["hidden_size"] = Hidden,
        ["num_hidden_layers"] = Layers,
        ["num_attention_heads"] = Heads,
        ["num_key_value_heads"] = KvHeads,
        ["intermediate_size"] = FeedForward,
        ["vocab_size"] = Vocab,
        ["max_position_embeddings"] = Context,
        ["rope_theta"] = RopeTheta,
        ["rms_norm_eps"] = NormEpsilon,
        ["hidden_act"] = "silu",
        ["tie_word_embeddings"] = false,
    };
}
