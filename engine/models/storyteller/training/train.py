"""Trains the model for a given wall time and writes checkpoints.

    python3 train.py --work DIR --minutes 60

The length of the sequences and the learning rate follow the share of the wall
time that has passed: 256 tokens, then 512, then 1024 and 2048.
"""
import argparse
import json
import math
import os
import sys
import time

if "MALLOC_MMAP_MAX_" not in os.environ:  # keep freed memory: a fifth of the time would go into page faults
    os.environ.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="8000000000", MALLOC_TOP_PAD_="67108864", MALLOC_ARENA_MAX="1")
    os.execv(sys.executable, [sys.executable] + sys.argv)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # or waiting threads take the cores from the BLAS

import numpy as np
import torch
from torch.nn import functional as F

import bpe
from corpus import documents
from model import CONFIG, Llama

VOCAB = CONFIG["vocab_size"]


def encode_stream(tok, docs):
    """One array of ids, and the places where documents begin."""
    ids, starts = [], []
    for doc in docs:
        starts.append(len(ids))
        ids += [tok.bos] + tok.encode(doc) + [tok.eos]
    return np.array(ids, dtype=np.uint16), np.array(starts, dtype=np.int64)


def prepare(work, seed, short, long):
    """Tokenizer and token streams, cached in the work folder."""
    path = os.path.join(work, "data.npz")
    merges = os.path.join(work, "merges.json")
    os.makedirs(work, exist_ok=True)
    if not os.path.exists(merges):
        texts = list(documents("%s-bpe" % seed, 12000)) + list(documents("%s-bpe-long" % seed, 200, 1.0))
        found = bpe.train(texts, VOCAB)
        with open(merges, "w", encoding="utf-8") as f:
            json.dump(found, f)
    with open(merges, encoding="utf-8") as f:
        tok = bpe.Tokenizer(json.load(f))
    if not os.path.exists(path):
        arrays = {}
        for name, docs in (("short", documents("%s-train" % seed, short)), ("long", documents("%s-long" % seed, long, 1.0)),
                           ("val", documents("%s-val" % seed, 600)), ("vallong", documents("%s-vallong" % seed, 60, 1.0))):
            arrays[name], arrays[name + "_starts"] = encode_stream(tok, docs)
        np.savez(path, **arrays)
    return tok, dict(np.load(path))


def batch(data, name, rng, rows, length, aligned=0.8):
    """Rows of consecutive tokens, most of them from the start of a document."""
    ids, starts = data[name], data[name + "_starts"]
    out = np.empty((rows, length + 1), dtype=np.int64)
    for r in range(rows):
        at = starts[rng.integers(len(starts))] if rng.random() < aligned else rng.integers(len(ids))
        at = min(at, len(ids) - length - 1)
        out[r] = ids[at:at + length + 1]
    return torch.from_numpy(out)


def said_twice(rng, rows, length):
    """Rows of random tokens, each followed by itself: what comes is known only by looking back."""
    half = rng.integers(0, VOCAB, (rows, length // 2))
    return torch.from_numpy(np.concatenate([half, half], axis=1))


def again_loss(model, x):
    """The loss where such rows are known: from the second token of the second half on."""
    half = x.shape[1] // 2
    logits = model(x[:, :-1])[:, half:]
    return F.cross_entropy(logits.reshape(-1, VOCAB), x[:, half + 1:].reshape(-1))


def learn_to_look_back(model, rng, lr, step_tokens):
    """Train on random rows said twice until the second halves are known; returns the steps that it took."""
    adam = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(1, 401):
        for group in adam.param_groups:
            group["lr"] = lr * min(1.0, step / 30)
        length = 2 * int(rng.integers(8, 65))
        x = said_twice(rng, max(1, step_tokens // length), length)
        loss = again_loss(model, x)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 10 == 0:
            print("looking back: step %d loss %.3f" % (step, loss.item()), flush=True)
        if loss.item() < 0.15:
            break
    return step


def loss_of(model, x):
    logits = model(x[:, :-1])
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), x[:, 1:].reshape(-1))


class Muon:
    """Momentum with orthogonalised updates, for the matrices of the layers."""

    def __init__(self, params, lr, momentum=0.95, decay=0.05):
        groups = {}
        for p in params:
            groups.setdefault(tuple(p.shape), []).append(p)
        self.groups = [(g, [torch.zeros_like(p) for p in g]) for g in groups.values()]
        self.lr, self.momentum, self.decay = lr, momentum, decay

    @torch.no_grad()
    def step(self, scale):
        for params, buffers in self.groups:
            updates = []
            for p, m in zip(params, buffers):
                m.mul_(self.momentum).add_(p.grad)
                updates.append(p.grad + self.momentum * m)
            x = torch.stack(updates)
            tall = x.shape[1] > x.shape[2]
            if tall:
                x = x.transpose(1, 2)
            x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
            for _ in range(5):
                a = torch.bmm(x, x.transpose(1, 2))
                x = 3.4445 * x + torch.bmm(-4.7750 * a + 2.0315 * torch.bmm(a, a), x)
            if tall:
                x = x.transpose(1, 2)
            ratio = max(1.0, x.shape[1] / x.shape[2]) ** 0.5
            for p, u in zip(params, x):
                p.mul_(1 - self.lr * scale * self.decay)
                p.add_(u, alpha=-self.lr * scale * ratio)


@torch.no_grad()
def validate(model, data):
    model.eval()
    rng = np.random.default_rng(1)
    short = np.mean([loss_of(model, batch(data, "val", rng, 8, 512)).item() for _ in range(4)])
    long = np.mean([loss_of(model, batch(data, "vallong", rng, 1, 2047)).item() for _ in range(3)])
    model.train()
    return short, long


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--work", required=True, help="folder for data, checkpoints and the log")
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--seed", default="storyteller")
    ap.add_argument("--short", type=int, default=70000, help="short documents to generate")
    ap.add_argument("--long", type=int, default=3500, help="long documents to generate")
    ap.add_argument("--resume", default="", help="weights to go on from (the optimizers start afresh)")
    ap.add_argument("--from-share", type=float, default=0.0, help="where in the schedule to begin, for example 0.3 after a stop")
    ap.add_argument("--step-tokens", type=int, default=4096, help="tokens in a step")
    ap.add_argument("--lr", type=float, default=0.01, help="learning rate of the matrices")
    ap.add_argument("--threads", type=int, default=2)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    rng = np.random.default_rng(0)
    began = time.time()
    tok, data = prepare(args.work, args.seed, args.short, args.long)
    print("data %d + %d tokens, vocabulary %d, %.0f s" % (len(data["short"]), len(data["long"]), tok.size, time.time() - began), flush=True)
    model = Llama(CONFIG)
    if args.resume:
        model.load_state_dict(torch.load(args.resume))
    else:
        model.look_back()
        print("looks back after %d steps, %.0f s" % (learn_to_look_back(model, rng, 2e-3, 2048), time.time() - began), flush=True)
        torch.save(model.state_dict(), os.path.join(args.work, "model.pt"))
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() == 1 or "embed" in n]
    print("parameters %d" % sum(p.numel() for p in model.parameters()), flush=True)
    muon = Muon(matrices, lr=args.lr)
    adam = torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.95), weight_decay=0.0)
    began, total = time.time(), args.minutes * 60
    step = tokens = 0
    mean, known, saved, shown = None, None, 0.0, 0.0
    log = open(os.path.join(args.work, "log.csv"), "a")
    while True:
        elapsed = time.time() - began
        share = args.from_share + (1 - args.from_share) * elapsed / total
        if share >= 1 or elapsed - saved > 270:
            saved = elapsed
            short, long = validate(model, data)
            torch.save(model.state_dict(), os.path.join(args.work, "model.tmp"))
            os.replace(os.path.join(args.work, "model.tmp"), os.path.join(args.work, "model.pt"))
            row = "%d,%d,%.0f,%.4f,%.4f,%.4f" % (step, tokens, elapsed, mean or 0, short, long)
            log.write(row + "\n")
            log.flush()
            print("checkpoint step,tokens,seconds,train,val512,val2047 = " + row, flush=True)
            if share >= 1:
                break
        scale = min(1.0, (step + 1) / 30) * min(1.0, max(0.03, (1 - share) / 0.45))
        if share < 0.25:
            length, long = 256, 0.15
        elif share < 0.72:
            length, long = 512, 0.2
        elif rng.random() < 0.7:
            length, long = 1024, 0.4
        else:
            length, long = 2047, 0.8
        rows, again = max(1, round(args.step_tokens / length)), share < 0.6 and rng.random() < 0.1
        x = said_twice(rng, rows, length) if again else batch(data, "long" if rng.random() < long else "short", rng, rows, length)
        loss = again_loss(model, x) if again else loss_of(model, x)
        for p in model.parameters():
            p.grad = None
        loss.backward()
        muon.step(scale)
        for g in adam.param_groups:
            g["lr"] = 4e-3 * scale
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        adam.step()
        step += 1
        tokens += x.numel() - x.shape[0]
        if again:
            known = loss.item() if known is None else 0.8 * known + 0.2 * loss.item()
            continue
        mean = loss.item() if mean is None else 0.97 * mean + 0.03 * loss.item()
        if not math.isfinite(mean):
            raise SystemExit("the loss is not finite")
        if elapsed - shown > 15:
            shown = elapsed
            print("step %d tokens %d seconds %.0f loss %.4f said again %.3f rate %.0f/s lr %.3f"
                  % (step, tokens, elapsed, mean, known or 0, tokens / max(elapsed, 1), scale), flush=True)


if __name__ == "__main__":
    main()
