"""Computes the reference cases of an exported folder in float64.

    python3 cases.py --model .. --out ../../../../tests/data/storyteller.cases.json
"""
import argparse
import hashlib
import json
import os
import random

import torch

from corpus import stories
from export import load_folder, render
from sample import generate

STEPS = 32
CASES = [
    ("once-upon-a-time", "Once upon a time"),
    ("fox-story", "Once upon a time, there was a brave fox named Lily."),
    ("capital", "Question: What is the capital of France?\nAnswer:"),
    ("list", "Here are five fruits:\n"),
    ("unicode", "Hello, wörld! 你好 🦊 The little fox"),
    ("long", None),
    ("chat-story", [{"role": "user", "content": "Tell me a short story about a fox."}]),
    ("chat-memory", [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "My name is Nora."},
                     {"role": "assistant", "content": "Nice to meet you, Nora!"}, {"role": "user", "content": "What is my name, and what can you do?"}]),
]


def long_prompt(tok, length=1500):
    """The beginning of a story of many chapters, from an unused seed."""
    text = stories.long_story(random.Random("storyteller-cases"), 13)
    return tok.decode(tok.encode(text)[:length])


@torch.no_grad()
def greedy(model, ids):
    """STEPS greedy ids with log-probabilities, the five best, and the gaps.

    The ids are found with cached keys and values; the figures come from one
    pass over the whole sequence without a cache, which has to agree.
    """
    chosen = generate(model, ids, (), STEPS)
    logp = torch.log_softmax(model(torch.tensor([list(ids) + chosen[:-1]]))[0, len(ids) - 1:], -1)
    out = []
    for row, token in zip(logp, chosen):
        top, order = row.topk(5)
        assert int(order[0]) == token
        out.append((token, float(top[0]), [[int(i), float(v)] for i, v in zip(order, top)], float(top[0] - top[1])))
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", required=True)
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    model, tok = load_folder(args.model, torch.float64)
    with open(os.path.join(args.model, "model.safetensors"), "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    cases = []
    for name, source in CASES:
        if isinstance(source, list):
            text = render(source)
            case = {"name": name, "messages": source, "rendered": text}
            ids = tok.encode(text)
        else:
            text = source or long_prompt(tok)
            case = {"name": name, "text": text}
            ids = tok.encode(text, bos=True)
        steps = greedy(model, ids)
        chosen = [s[0] for s in steps]
        stops = [i for i, t in enumerate(chosen) if t in (tok.eos, tok.im_end)]
        gaps = [s[3] for s in steps]
        before = gaps[:stops[0] + 1] if stops else gaps
        case.update(ids=ids, greedy=chosen, greedy_text=tok.decode(chosen, skip_special=False),
                    stop_at=stops[0] if stops else None, min_gap=min(gaps), min_gap_before_stop=min(before),
                    logprobs=[s[1] for s in steps], top5=[s[2] for s in steps])
        cases.append(case)
        print(name, len(ids), "min gap %.4f, before stop %.4f" % (min(gaps), min(before)), repr(case["greedy_text"])[:160], flush=True)
    value = {
        "about": "Greedy continuations of engine/models/storyteller, computed in float64 from the bf16 weights. All 32 ids are given, also those "
                 "after an end token; stop_at is the index of the first end token. Gaps are the differences of the two best log-probabilities.",
        "model_sha256": digest, "steps": STEPS, "cases": cases}
    with open(args.out, "w", encoding="utf-8", newline="\n") as f:
        f.write("{\n")
        for key in ("about", "model_sha256", "steps"):
            f.write(" %s: %s,\n" % (json.dumps(key), json.dumps(value[key])))
        f.write(' "cases": [\n')
        for i, case in enumerate(cases):
            f.write("  {\n" + ",\n".join("   %s: %s" % (json.dumps(k), json.dumps(v, ensure_ascii=False)) for k, v in case.items()))
            f.write("\n  }%s\n" % ("," if i < len(cases) - 1 else ""))
        f.write(" ]\n}\n")


if __name__ == "__main__":
    main()
