#!/usr/bin/env python3
"""Makes the small random-weight folders of this directory, and what Hugging Face transformers continues prompts with.

Needs transformers and torch; README.md beside this file says which versions were used. Run: generate.py OUTPUT_FOLDER [NAME...]
Everything is seeded: the same versions write the same bytes.
"""
import json, math, os, struct, sys
import torch
import transformers as hf

STEPS = 10          # greedy tokens a case
TOP = 4             # log-probabilities kept a step
MIN_GAP = 0.08      # between the two likeliest tokens at every step: rounding cannot change the choice
PROMPTS = [1, 3, 7, 18, 33, 58, 90]
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

BASE = dict(vocab_size=211, hidden_size=48, intermediate_size=72, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=2, head_dim=16, max_position_embeddings=256, bos_token_id=1, eos_token_id=2,
            pad_token_id=0, tie_word_embeddings=False)
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}


def longrope(pairs, seed):
    random = torch.Generator().manual_seed(seed)
    factor = lambda most: [round(1 + most * i / pairs + 0.1 * torch.rand(1, generator=random).item(), 3) for i in range(pairs)]
    return {"type": "longrope", "short_factor": factor(0.3), "long_factor": factor(5.0)}


# name: (architecture, config class, model class, type, shards, configuration)
FAMILIES = {
    "llama31-bf16": (hf.LlamaConfig, hf.LlamaForCausalLM, "BF16", 2, dict(rope_scaling=LLAMA3, rope_theta=500000.0)),
    "llama31-tied-f32": (hf.LlamaConfig, hf.LlamaForCausalLM, "F32", 1, dict(rope_scaling=LLAMA3, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "mistral-f32": (hf.MistralConfig, hf.MistralForCausalLM, "F32", 1, dict(sliding_window=20, num_attention_heads=5, num_key_value_heads=5, head_dim=8)),
    "qwen2-window-f16": (hf.Qwen2Config, hf.Qwen2ForCausalLM, "F16", 1, dict(use_sliding_window=True, sliding_window=24, max_window_layers=1, num_hidden_layers=3, head_dim=None, tie_word_embeddings=True)),
    "qwen3-f32": (hf.Qwen3Config, hf.Qwen3ForCausalLM, "F32", 1, dict(head_dim=20, num_attention_heads=3, num_key_value_heads=1)),
    "qwen3-bf16": (hf.Qwen3Config, hf.Qwen3ForCausalLM, "BF16", 1, dict(tie_word_embeddings=True, rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}, num_hidden_layers=3)),
    "gemma2-f32": (hf.Gemma2Config, hf.Gemma2ForCausalLM, "F32", 1, dict(sliding_window=20, query_pre_attn_scalar=24, attn_logit_softcapping=2.0, final_logit_softcapping=12.0, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True)),
    "gemma2-bf16": (hf.Gemma2Config, hf.Gemma2ForCausalLM, "BF16", 2, dict(sliding_window=16, query_pre_attn_scalar=16, head_dim=12, num_hidden_layers=4, tie_word_embeddings=True)),
    "gemma3-f32": (hf.Gemma3TextConfig, hf.Gemma3ForCausalLM, "F32", 1, dict(sliding_window=20, query_pre_attn_scalar=16, sliding_window_pattern=2, num_attention_heads=3, num_key_value_heads=1, rope_theta=1000000.0, rope_local_base_freq=10000.0, num_hidden_layers=3, tie_word_embeddings=True)),
    "gemma3-nested-bf16": (hf.Gemma3TextConfig, hf.Gemma3ForCausalLM, "BF16", 1, dict(sliding_window=16, query_pre_attn_scalar=20, sliding_window_pattern=3, rope_scaling={"rope_type": "linear", "factor": 8.0}, num_hidden_layers=4, tie_word_embeddings=True)),
    "phi3-longrope-f32": (hf.Phi3Config, hf.Phi3ForCausalLM, "F32", 1, dict(num_attention_heads=3, num_key_value_heads=3, head_dim=None, partial_rotary_factor=0.75, original_max_position_embeddings=40, rope_scaling=longrope(6, 1))),
    "phi3-f16": (hf.Phi3Config, hf.Phi3ForCausalLM, "F16", 1, dict(num_attention_heads=3, num_key_value_heads=1, head_dim=None, original_max_position_embeddings=256, sliding_window=24)),
    "qwen3moe-f32": (hf.Qwen3MoeConfig, hf.Qwen3MoeForCausalLM, "F32", 1, dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=20, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[1], num_hidden_layers=3)),
    "qwen3moe-bf16": (hf.Qwen3MoeConfig, hf.Qwen3MoeForCausalLM, "BF16", 1, dict(num_experts=9, num_experts_per_tok=3, moe_intermediate_size=20, norm_topk_prob=False, decoder_sparse_step=2, num_hidden_layers=4)),
    "mixtral-f32": (hf.MixtralConfig, hf.MixtralForCausalLM, "F32", 1, dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=28)),
    "mixtral-bf16": (hf.MixtralConfig, hf.MixtralForCausalLM, "BF16", 2, dict(num_local_experts=5, num_experts_per_tok=2, intermediate_size=28, sliding_window=24)),
}


def randomize(model, seed):
    """Weights wide enough that attention, routers and logits are decided rather than flat."""
    random = torch.Generator().manual_seed(seed)
    gemma = "Gemma" in type(model).__name__
    tied = model.config.tie_word_embeddings
    for name, weight in sorted(model.named_parameters()):
        noise = torch.randn(weight.shape, generator=random, dtype=torch.float64)
        if weight.dim() == 1:
            bias = name.endswith(".bias")
            # With tied embeddings a model echoes its input unless the layers outweigh it.
            loud = tied and name == "model.norm.weight" or gemma and ".post_" in name
            value = noise * 0.2 + (3 if loud else 1) - (1 if gemma or bias else 0)
        elif "embed_tokens" in name:
            value = noise * (0.1 if gemma else 0.2 if tied else 1.0)
        elif "lm_head" in name:
            value = noise * 0.45
        else:
            value = noise * (1.4 / math.sqrt(weight.shape[1]))
        weight.data = value


def tensors(model, nested):
    state = {name: weight for name, weight in model.state_dict().items()
             if not (name == "lm_head.weight" and model.config.tie_word_embeddings)}
    if not nested:
        return state
    state = {"language_model." + name: weight for name, weight in state.items()}
    state["vision_tower.vision_model.post_layernorm.weight"] = torch.ones(4, dtype=torch.float64)
    return state


def write_safetensors(path, state, type_name):
    header, data = {}, b""
    for name in sorted(state):
        weight = state[name].to(TYPES[type_name]).contiguous()
        raw = weight.view(torch.int16 if type_name != "F32" else torch.int32).numpy().tobytes()
        header[name] = {"dtype": type_name, "shape": list(weight.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def write_folder(folder, config, state, type_name, shards):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1, sort_keys=True)
        file.write("\n")
    if shards == 1:
        write_safetensors(os.path.join(folder, "model.safetensors"), state, type_name)
        return
    names, index = sorted(state), {}
    for shard in range(shards):
        file_name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard * len(names) // shards:(shard + 1) * len(names) // shards]
        write_safetensors(os.path.join(folder, file_name), {name: state[name] for name in part}, type_name)
        index.update({name: file_name for name in part})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {}, "weight_map": index}, file, indent=0)


def round_embedding_scale(model, dtype):
    """Gemma multiplies embeddings by sqrt(hidden) rounded to the model's type. Computing in f64 would leave it unrounded."""
    scale = math.sqrt(model.config.hidden_size)
    rounded = torch.tensor(scale).to(dtype).double()
    if isinstance(model, hf.Gemma3ForCausalLM):
        model.model.embed_tokens.embed_scale = rounded
    elif isinstance(model, hf.Gemma2ForCausalLM):
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        model.model.embed_tokens.weight.data = model.model.embed_tokens.weight.data * (rounded / scale)


def greedy(model, prompt):
    """A full forward pass a step. None where two tokens are too close."""
    ids, chosen, logprobs, top = list(prompt), [], [], []
    for _ in range(STEPS):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        best = torch.log_softmax(logits, -1).topk(TOP)
        if best.values[0] - best.values[1] < MIN_GAP:
            return None
        chosen.append(best.indices[0].item())
        logprobs.append(round(best.values[0].item(), 6))
        top.append([[i, round(v, 6)] for i, v in zip(best.indices.tolist(), best.values.tolist())])
        ids.append(chosen[-1])
    return chosen, logprobs, top


def make(name, output):
    config_class, model_class, type_name, shards, changes = FAMILIES[name]
    values = {**BASE, **changes}
    config = config_class(**{key: value for key, value in values.items() if value is not None or key == "sliding_window"})
    config._attn_implementation = "eager"
    config.architectures = [model_class.__name__]
    model = model_class(config).double().eval()
    seed = sum(ord(c) * 31 ** i for i, c in enumerate(name)) % 2 ** 31
    randomize(model, seed)
    for weight in model.parameters():
        weight.data = weight.data.to(TYPES[type_name]).double()
    if config.tie_word_embeddings:
        model.tie_weights()
    nested = "nested" in name
    written = config.to_dict()
    for key in [key for key, value in written.items() if key.startswith("_") or value == getattr(hf.PretrainedConfig(), key, written)]:
        if key not in ("architectures", "tie_word_embeddings"):
            del written[key]
    written["dtype"] = str(TYPES[type_name]).removeprefix("torch.")
    if nested:
        written.pop("architectures")
        written = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "dtype": written["dtype"],
                   "eos_token_id": [2, 106], "text_config": written, "vision_config": {"hidden_size": 4, "model_type": "siglip_vision_model"}}
    write_folder(os.path.join(output, name), written, tensors(model, nested), type_name, shards)
    round_embedding_scale(model, TYPES[type_name])

    random = torch.Generator().manual_seed(seed + 1)
    cases = []
    for length in PROMPTS:
        for _ in range(60):
            prompt = torch.randint(3, config.vocab_size, (length,), generator=random).tolist()
            result = greedy(model, prompt)
            if result is not None:
                break
        else:
            raise SystemExit(f"{name}: no prompt of {length} tokens whose continuation is unambiguous")
        cases.append(dict(name=f"{length} tokens", prompt=prompt, expected_ids=result[0], token_logprobs=result[1], top_logprobs=result[2]))
    with open(os.path.join(output, name + ".cases.json"), "w") as file:
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        file.write(f'{{"transformers":"{hf.__version__}","torch":"{torch.__version__}","tolerance":{2e-3 if type_name == "F32" else 2e-2},"cases":[\n{lines}\n]}}\n')
    distinct = len({tuple(case["expected_ids"]) for case in cases})
    print(name, "cases", len(cases), "distinct", distinct, "least logprob", min(min(c["token_logprobs"]) for c in cases),
          [len(set(c["expected_ids"])) for c in cases], flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[2:] or FAMILIES:
        make(name, sys.argv[1])
