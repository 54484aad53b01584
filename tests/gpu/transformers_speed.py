"""transformers_speed.py FOLDER: decode speed of Hugging Face transformers for a model folder without a tokenizer, in bf16 on the first GPU, with a static cache and sdpa; compiled to CUDA graphs where that works."""
import sys
import time

import torch
from transformers import AutoModelForCausalLM

PROMPT, GENERATED = 1024, 128


def measure(model, batch, **options):
    prompts = (torch.arange(batch * PROMPT, device="cuda").reshape(batch, PROMPT) * 7919) % model.config.vocab_size
    best = float("inf")
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        model.generate(prompts, max_new_tokens=GENERATED, min_new_tokens=GENERATED, do_sample=False, cache_implementation="static", pad_token_id=0, **options)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return batch * GENERATED / best


model = AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype=torch.bfloat16, attn_implementation="sdpa").cuda().eval()
with torch.inference_mode():
    for batch in (1, 64):
        try:
            rate = measure(model, batch)
        except Exception as error:  # A machine's compiler may be missing; transformers runs without it.
            print(f"transformers, batch {batch}: compiling failed ({type(error).__name__}), measured without")
            rate = measure(model, batch, disable_compile=True)
        print(f"transformers, {batch} requests at a time of {PROMPT} + {GENERATED} tokens: {rate:.0f} tokens/s over all")
