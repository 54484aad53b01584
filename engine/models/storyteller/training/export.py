"""Writes and reads the Hugging Face folder of the model.

    python3 export.py --work DIR --out ..
"""
import argparse
import json
import os
import struct

import torch

import bpe
from model import CONFIG, Llama

CHAT_TEMPLATE = ("{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
                 "+ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def render(messages, add_generation_prompt=True):
    """What the chat template above renders."""
    text = "<|bos|>" + "".join("<|im_start|>%s\n%s<|im_end|>\n" % (m["role"], m["content"]) for m in messages)
    return text + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def write_safetensors(path, tensors):
    """bf16 tensors, in name order, behind an 8-byte aligned header."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        size = tensors[name].numel() * 2
        header[name] = {"dtype": "BF16", "shape": list(tensors[name].shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            f.write(tensors[name].to(torch.bfloat16).contiguous().view(torch.int16).numpy().astype("<i2").tobytes())


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    size, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "BF16"
            first, last = (8 + size + x for x in entry["data_offsets"])
            out[name] = torch.frombuffer(bytearray(data[first:last]), dtype=torch.bfloat16).reshape(entry["shape"])
    return out


def load_folder(folder, dtype=torch.float32):
    """The model and the tokenizer of an exported folder."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        model = Llama(json.load(f)).to(dtype)
    state = read_safetensors(os.path.join(folder, "model.safetensors"))
    model.load_state_dict({k: v.to(dtype) for k, v in state.items()})
    return model.eval(), bpe.Tokenizer.load(os.path.join(folder, "tokenizer.json"))


def write_json(folder, name, value, indent=2):
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as f:
        json.dump(value, f, ensure_ascii=False, indent=indent)
        f.write("\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--work", required=True)
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    with open(os.path.join(args.work, "merges.json"), encoding="utf-8") as f:
        tok = bpe.Tokenizer(json.load(f))
    state = torch.load(os.path.join(args.work, "model.pt"), map_location="cpu")
    assert all(torch.isfinite(v).all() for v in state.values())
    write_safetensors(os.path.join(args.out, "model.safetensors"), state)
    pad = tok.special["<|pad|>"]
    config = dict(CONFIG, bos_token_id=tok.bos, eos_token_id=[tok.eos, tok.im_end], pad_token_id=pad)
    write_json(args.out, "config.json", config)
    write_json(args.out, "generation_config.json", {
        "bos_token_id": tok.bos, "eos_token_id": [tok.eos, tok.im_end], "pad_token_id": pad,
        "do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 40, "max_length": CONFIG["max_position_embeddings"]})
    added = {str(i): {"content": s, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
             for s, i in tok.special.items()}
    write_json(args.out, "tokenizer_config.json", {
        "added_tokens_decoder": added, "add_bos_token": True, "bos_token": "<|bos|>", "eos_token": "<|eos|>", "pad_token": "<|pad|>",
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False, "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": CONFIG["max_position_embeddings"], "tokenizer_class": "PreTrainedTokenizerFast"})
    write_json(args.out, "tokenizer.json", tok.to_json(), indent=1)
    model, _ = load_folder(args.out)
    print("wrote %d parameters" % sum(p.numel() for p in model.parameters()))


if __name__ == "__main__":
    main()
