"""Byte-level BPE: training, encoding, decoding, and the tokenizer.json file."""
import collections
import json

import regex

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIALS = ["<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
_SPLIT = regex.compile(PATTERN)
_SPECIAL = regex.compile("(" + "|".join(regex.escape(s) for s in SPECIALS) + ")")


def byte_symbols():
    """GPT-2's printable character for each of the 256 bytes."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 0
    for b in range(256):
        if b in plain:
            table[b] = chr(b)
        else:
            table[b] = chr(256 + extra)
            extra += 1
    return table


BYTES = byte_symbols()
UNBYTES = {c: b for b, c in BYTES.items()}


def to_symbols(piece):
    return tuple(BYTES[b] for b in piece.encode("utf-8"))


def train(texts, vocab_size):
    """Learn merges from the texts; returns them in order."""
    counts = collections.Counter()
    for text in texts:
        for part in _SPECIAL.split(text):
            if part not in SPECIALS:
                counts.update(_SPLIT.findall(part))
    words = [(list(to_symbols(w)), n) for w, n in counts.items()]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (symbols, n) in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pairs[pair] += n
            where[pair].add(i)
    merges = []
    while len(merges) < vocab_size - 256 - len(SPECIALS):
        best = max(pairs, key=lambda p: (pairs[p], p))
        if pairs[best] < 2:
            break
        merges.append(best)
        for i in list(where[best]):
            symbols, n = words[i]
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] -= n
            merged = merge(symbols, best)
            words[i] = (merged, n)
            for pair in zip(merged, merged[1:]):
                pairs[pair] += n
                where[pair].add(i)
        del pairs[best], where[best]
    return merges


def merge(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and symbols[i] == pair[0] and symbols[i + 1] == pair[1]:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


class Tokenizer:
    """Encodes and decodes as a tokenizer.json with these merges does."""

    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: i for i, m in enumerate(self.merges)}
        symbols = [BYTES[b] for b in range(256)] + [a + b for a, b in self.merges]
        self.vocab = {s: i for i, s in enumerate(symbols)}
        assert len(self.vocab) == len(symbols), "two merges make the same token"
        self.special = {s: len(symbols) + i for i, s in enumerate(SPECIALS)}
        self.names = {i: s for s, i in list(self.vocab.items()) + list(self.special.items())}
        self.bos, self.eos, self.im_end = (self.special[s] for s in ("<|bos|>", "<|eos|>", "<|im_end|>"))
        self.size = len(symbols) + len(SPECIALS)
        self._cache = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            return cls(json.load(f)["model"]["merges"])

    def piece(self, piece):
        ids = self._cache.get(piece)
        if ids is None:
            symbols = list(to_symbols(piece))
            while len(symbols) > 1:
                best = min(zip(symbols, symbols[1:]), key=lambda p: self.rank.get(p, 1 << 30))
                if best not in self.rank:
                    break
                symbols = merge(symbols, best)
            ids = self._cache[piece] = [self.vocab[s] for s in symbols]
        return ids

    def encode(self, text, bos=False):
        ids = [self.bos] if bos else []
        for part in _SPECIAL.split(text):
            if part in self.special:
                ids.append(self.special[part])
            elif part:
                for piece in _SPLIT.findall(part):
                    ids += self.piece(piece)
        return ids

    def decode(self, ids, skip_special=True):
        out, run = [], bytearray()
        for i in ids:
            if i >= len(self.vocab):
                out.append(run.decode("utf-8", "replace"))
                run = bytearray()
                if not skip_special:
                    out.append(self.names[i])
            else:
                run += bytes(UNBYTES[c] for c in self.names[i])
        return "".join(out) + run.decode("utf-8", "replace")

    def to_json(self):
        """The content of tokenizer.json."""
        return {
            "version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True} for s, i in self.special.items()],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
            "post_processor": {"type": "TemplateProcessing",
                               "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                               "pair": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                        {"SpecialToken": {"id": "<|bos|>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                               "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [self.bos], "tokens": ["<|bos|>"]}}},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": self.vocab, "merges": [list(m) for m in self.merges]},
        }
