"""transformers_folders.py MODELS_FOLDER OUTPUT_FOLDER: random-weight Llama, Qwen2, Qwen3 and Mistral folders, larger than the golden models, and what Hugging Face transformers computes for them in float64, in the form of MODELS_FOLDER, whose generate.py makes them."""
import math
import os
import sys

sys.path.insert(0, sys.argv[1])
import generate as golden
import transformers as hf

golden.BASE.update(vocab_size=2048, hidden_size=512, intermediate_size=1408, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2, head_dim=64, max_position_embeddings=1024)
golden.PROMPTS = [1, 17, 100, 300]
golden.FAMILIES = {
    "made-llama-bf16": (hf.LlamaConfig, hf.LlamaForCausalLM, "BF16", 1, dict(rope_scaling=golden.LLAMA3, rope_theta=500000.0, num_attention_heads=4, head_dim=128)),
    "made-qwen2-bf16": (hf.Qwen2Config, hf.Qwen2ForCausalLM, "BF16", 2, dict(head_dim=None, rope_theta=1000000.0)),
    "made-qwen3-bf16": (hf.Qwen3Config, hf.Qwen3ForCausalLM, "BF16", 1, dict(head_dim=128)),
    "made-mistral-bf16": (hf.MistralConfig, hf.MistralForCausalLM, "BF16", 1, dict(sliding_window=128, rope_theta=1000000.0)),
    "made-mistral-f16": (hf.MistralConfig, hf.MistralForCausalLM, "F16", 1, dict(sliding_window=72)),
}
randomize = golden.randomize


def of_golden_size(model, seed):
    """Logits as far apart as the golden models', for which the tolerances were measured."""
    randomize(model, seed)
    model.lm_head.weight.data = model.lm_head.weight.data * math.sqrt(48 / model.config.hidden_size)


golden.randomize = of_golden_size
golden.torch.set_num_threads(os.cpu_count() or 1)
for name in golden.FAMILIES:
    golden.make(name, sys.argv[2])
