"""Prints continuations and chat replies of an exported folder.

    python3 sample.py --model .. --temperature 0
    python3 sample.py --model .. --chat "Hello!" --chat "Name three fruits."
"""
import argparse

import torch

from export import load_folder, render

TEXTS = ["Once upon a time", "Once upon a time, there was a brave fox named", "The capital of France is", "Question: What is 2 + 3?\nAnswer:", "Dear Anna,\n\n"]
CHATS = [["Hello!"], ["Who are you?"], ["Tell me a short story about a fox."], ["Count to ten."], ["What is 2 + 3?"], ["Name three fruits."],
         ["What is the capital of France?"], ["Write a poem about the sea."], ["How do I make tea?"], ["Explain quantum physics."],
         ["Write a JSON object with a name and an age."], ["My name is Nora.", "What is 12 + 7?", "What is my name?"], ["Why is the sky blue?"]]


@torch.no_grad()
def generate(model, ids, stop, n, temperature=0.0, seed=0, top_p=0.95):
    gen = torch.Generator().manual_seed(seed)
    past, ids, out = model.empty_past(), list(ids), []
    for _ in range(n):
        logits = model(torch.tensor([ids]), last=True, past=past)[0, -1].double()
        if temperature <= 0:
            best = int(logits.argmax())
        else:
            p, order = torch.softmax(logits / temperature, -1).sort(descending=True)
            p[p.cumsum(0) - p > top_p] = 0
            best = int(order[torch.multinomial(p / p.sum(), 1, generator=gen)])
        if best in stop:
            break
        ids = [best]
        out.append(best)
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", required=True)
    ap.add_argument("--temperature", type=float, default=0.0)
    ap.add_argument("--tokens", type=int, default=160)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--text", action="append", default=[])
    ap.add_argument("--chat", action="append", default=[], help="one user turn of its own conversation")
    args = ap.parse_args()
    model, tok = load_folder(args.model)
    torch.set_num_threads(1)
    stop = {tok.eos, tok.im_end}
    texts, chats = args.text, [[c] for c in args.chat]
    if not texts and not chats:
        texts, chats = TEXTS, CHATS
    for text in texts:
        out = generate(model, tok.encode(text, bos=True), stop, args.tokens, args.temperature, args.seed)
        print("> %s\n%s\n" % (text, tok.decode(out)), flush=True)
    for turns in chats:
        messages = []
        for turn in turns:
            messages.append({"role": "user", "content": turn})
            out = generate(model, tok.encode(render(messages)), stop, args.tokens, args.temperature, args.seed)
            messages.append({"role": "assistant", "content": tok.decode(out)})
            print("user: %s\nassistant: %s" % (turn, messages[-1]["content"]), flush=True)
        print()


if __name__ == "__main__":
    main()
