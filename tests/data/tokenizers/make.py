"""Makes the tokenizer.json files of this folder: small vocabularies in the shapes that models are published with.

    python3 make.py                    writes NAME.tokenizer.json, NAME.texts.json
    node ../../interop-text/golden.mjs writes NAME.cases.json from them

Vocabularies are trained here, on the text below; the shapes (normalizers, pre-tokenizers, decoders, added tokens) are those of the families named.
"""
import base64
import collections
import json
import random
import struct

TEXT = """
The quick brown fox doesn't jump over the lazy dog; it's asleep. We've seen 1234567 sheep, they'll count 3.14 times 2,000 more!
    def total(items):\n        return sum(item.price * 2 for item in items)  # fold\n\tif (a != b) { printf("%d\\n", a); }
Straße, naïve café, Ärger über Öl. Москва и Киев. Ελλάδα. السلام عليكم. שלום עולם. नमस्ते दुनिया। สวัสดีชาวโลก. 你好，世界！漢字とかな。안녕하세요.
HTTPServer camelCase snake_case SCREAMING_CASE http://example.com/a?b=c&d=%20 foo@bar.com 2026-11-22 10:30 $5 €7 ½ ² Ⅷ 😀👍🏽👨‍👩‍👧
""" * 2

HARD = [
    "", " ", "  ", "   a", "a   ", "\n", "\r\n", "\n\n\n", " \n ", "\t\t x", "\u00a0", "\u3000x", "\u2028", "\u0085", "\ufeff", "\u200b", "\0", "a\0b", "\x1c\x1f",
    "I'LL don't WE'VE 'S 's ’s 'ſ", "12345678901", "1 22 333 4444", "٣٤٥ १२३ ①½²Ⅷ", "e\u0301 \u0301 a\u0323\u0307", "Å ﬁ ㎏ … ＡＢＣ", "İıßẞǅ", "한글 각 \u1100\u1161\u11a8",
    "漢字かな交じり文", "𠀀𪚥", "😀👍🏽👨‍👩‍👧🏳️‍🌈🇩🇪", "𝐀𝟙", "\ue000\U0010ffff\U000e0001", "مَرْحَبًا שָׁלוֹם", "नमस्ते क्षि", "สวัสดี", "!!! ... ?! -- => :: // /* */", "___ __init__",
    "camelCase HTTPServer", "x" * 70, "=" * 40, " " * 17, "ab" * 40, "<s>", "</s>", "a<s>b", "<|im_start|>user\nhi<|im_end|>\n", "  <mask>  x", "a<mask>b", "word words word",
    "<|x|><|x", "▁", "▁▁a ▁", "Ġ Ċ", "<0x0A>\n", "``quoted''", "zebra ŽŠ", "\u1e9b\u0323", "a\r\rb\r\n", "[INST] x [/INST]", "$a+b<c>^`|~", "tab\there", "über Über ÜBER", "\U0001f9ff\u2060\u00ad",
]


def byte_names():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, more = {}, 256
    for value in range(256):
        if value in printable:
            names[value] = chr(value)
        else:
            names[value] = chr(more)
            more += 1
    return names


NAMES = byte_names()


def train(words, count, prefix=""):
    """The most frequent pair again and again: plain BPE over lists of symbols."""
    merges = []
    for _ in range(count):
        pairs = collections.Counter(pair for word in words for pair in zip(word, word[1:]))
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merged = left + right.removeprefix(prefix)
        merges.append([left, right])
        for word in words:
            at = 0
            while at < len(word) - 1:
                if word[at] == left and word[at + 1] == right:
                    word[at:at + 2] = [merged]
                at += 1
    return merges


def bpe(tokens, merges, prefix="", **options):
    tokens = list(dict.fromkeys([*tokens, *(left + right.removeprefix(prefix) for left, right in merges)]))
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": prefix or None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return model | options | {"vocab": {token: index for index, token in enumerate(tokens)}, "merges": merges}


def byte_level_model(count=220, **options):
    words = [[NAMES[b] for b in ((" " if index else "") + word).encode()] for index, word in enumerate(TEXT.split(" "))]
    return bpe(NAMES.values(), train(words, count), **options)


def spaced_model(count=200, bytes_too=True, **options):
    words = [list("▁" + word) for word in TEXT.split(" ") if word]
    known = [*dict.fromkeys(character for word in words for character in word if character not in "²Ⅷ👍")]
    merges = [*train(words, count), ["▁", "▁"], ["▁▁", "▁▁"]]
    specials = ["<unk>", "<s>", "</s>", *([f"<0x{b:02X}>" for b in range(256)] if bytes_too else [])]
    return bpe([*specials, *known, "²", "Ⅷ", "👍"], merges, **({"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": bytes_too} | options))


def unigram_model(bytes_too, seed):
    """Pieces of the text with made-up log-probabilities, some of them equal."""
    chance = random.Random(seed)
    pieces = dict.fromkeys(["<pad>", "<unk>", "</s>"], 0.0)
    pieces |= {f"<0x{b:02X}>": -30.0 for b in range(256)} if bytes_too else {}
    for word in TEXT.split():
        for _ in range(5):
            start = chance.randrange(len(word))
            pieces.setdefault(("▁" if start == 0 else "") + word[start:start + chance.randint(1, 5)], -float(chance.randint(3, 12)))
    pieces |= {character: -13.5 for character in "▁abcdefghijklmnopqrstuvwxyz.,'0123456789" if character not in pieces}
    return {"type": "Unigram", "unk_id": 1, "vocab": [[piece, score] for piece, score in pieces.items()], "byte_fallback": bytes_too}


def charsmap(rules):
    """SentencePiece's compiled rules: a double array over UTF-8, laid out as sparsely as it likes, and the replacements."""
    block, offsets, children = b"", {}, collections.defaultdict(dict)
    for source, target in rules.items():
        offsets[source.encode()] = len(block)
        block += target.encode() + b"\0"
    for key in offsets:
        for end in range(len(key)):
            children[key[:end]][key[end]] = key[:end + 1]
    units, bases = {0: 0}, {}

    def place(node, at):
        # Each node's children get 512 places of their own: its value at the base itself, a byte's child at the base xor the byte.
        base = 512 * (len(bases) + 1)
        bases[node] = base
        units[at] = units[at] | ((base ^ at) << 10)
        if node in offsets:
            units[at] |= 1 << 8
            units[base] = offsets[node] | 1 << 31
        for byte, child in children[node].items():
            units[base ^ byte] = byte
            place(child, base ^ byte)

    place(b"", 0)
    array = [units.get(index, 1 << 31 | 0xFF) for index in range(max(units) + 1)]
    trie = struct.pack(f"<{len(array)}I", *array)
    return base64.b64encode(struct.pack("<I", len(trie)) + trie + block).decode()


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def byte_level(**options):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False} | options


def added(model, *tokens):
    """Each a content, or a pair of it and its flags; ids as the library would give them."""
    vocabulary = model["vocab"] if model["type"] == "BPE" else {piece: index for index, (piece, _) in enumerate(model["vocab"])}
    result, last = [], len(vocabulary)
    for token in tokens:
        content, flags = token if isinstance(token, tuple) else (token, {})
        if content in vocabulary:
            number = vocabulary[content]
        else:
            number, last = last, last + 1
        result.append({"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} | flags)
    return result


def template(tokens, before=(), after=()):
    ids = {token["content"]: token["id"] for token in tokens}
    special = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {"type": "TemplateProcessing", "single": [*map(special, before), a, *map(special, after)], "pair": [a, b],
            "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in {*before, *after}}}


def metaspace(scheme, splits=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": splits}


PREPEND, TO_SPACE = {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
FROM_SPACE = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
DEEPSEEK3 = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
KIMI = r"[\p{Han}]+|" + (CASED % ("", "")).replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
RULES = {"\t": " ", "\n": " ", "\u00a0": " ", "\u3000": " ", "\ufeff": "", "\u200b": " ", "ﬁ": "fi", "½": "1⁄2", "①": "1", "Å": "Å", "e\u0301": "é", "…": "...", "Ａ": "A", "Ｂ": "B", "²": "2", "㎏": "kg"}


def shapes():
    chat = ["<|im_start|>", "<|im_end|>", "<s>", "</s>"]

    def of_bytes(pre, *tokens, normalizer=None, before=(), **options):
        model = byte_level_model(**options)
        tokens = added(model, *tokens)
        post = sequence("processors", byte_level(), template(tokens, before)) if before else byte_level()
        return normalizer, pre, model, byte_level(), tokens, post

    yield "llama-3", of_bytes(sequence("pretokenizers", split(LLAMA3), byte_level()), *chat, before=["<s>"], ignore_merges=True)
    yield "gpt-2", of_bytes(byte_level(use_regex=True, add_prefix_space=True), "</s>", ("<mask>", {"lstrip": True}))
    yield "qwen-2", of_bytes(sequence("pretokenizers", split(LLAMA3.replace("{1,3}", "")), byte_level()), *chat, normalizer={"type": "NFC"})
    yield "o200k", of_bytes(sequence("pretokenizers", split(CASED % (CONTRACTIONS + "?", CONTRACTIONS + "?") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"), byte_level()), *chat)
    yield "deepseek-v3", of_bytes(sequence("pretokenizers", split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK3), byte_level()), *chat, before=["<s>"])
    yield "kimi", of_bytes(sequence("pretokenizers", split(KIMI), byte_level()), *chat)
    yield "falcon", of_bytes(sequence("pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, byte_level(use_regex=True), {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]")), "</s>")
    yield "starcoder", of_bytes(sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level(use_regex=True)), "</s>")

    def spaced(normalizer, pre, *tokens, ends=FROM_SPACE, **options):
        model = spaced_model(**options)
        tokens = added(model, "<unk>", "<s>", "</s>", *tokens)
        return normalizer, pre, model, sequence("decoders", *ends), tokens, template(tokens, ["<s>"])

    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    yield "llama-2", spaced(sequence("normalizers", PREPEND, TO_SPACE), None, ends=[*FROM_SPACE, strip])
    yield "mistral", spaced(None, metaspace("first", False), "[INST]", "[/INST]", ends=[*FROM_SPACE, strip])
    yield "gemma", spaced(TO_SPACE, {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}, "<mask>", ("\n\n", {"special": False}))
    yield "phi-3", spaced(sequence("normalizers", PREPEND, TO_SPACE), None, ("<|im_end|>", {"rstrip": True}), ("<|x|>", {"lstrip": True}), ("word", {"single_word": True, "special": False}), ends=[*FROM_SPACE, strip])
    yield "no-bytes", spaced(None, metaspace("always"), ("<mask>", {"normalized": True}), bytes_too=False, fuse_unk=False)

    def pieces(normalizer, pre, bytes_too, seed, *tokens):
        model = unigram_model(bytes_too, seed)
        tokens = added(model, "<pad>", "<unk>", "</s>", *tokens)
        return normalizer, pre, model, metaspace("always"), tokens, template(tokens, after=["</s>"])

    rules = {"type": "Precompiled", "precompiled_charsmap": charsmap(RULES)}
    yield "t5", pieces(rules, sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("always")), False, 1)
    yield "xlm-r", pieces(sequence("normalizers", rules, {"type": "Strip", "strip_left": False, "strip_right": True}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}), metaspace("always"), True, 2, ("<mask>", {"lstrip": True}))
    yield "albert", pieces(sequence("normalizers", {"type": "Replace", "pattern": {"String": "``"}, "content": "\""}, {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}), metaspace("always"), False, 3)
    yield "whole-text", pieces({"type": "Nmt"}, None, True, 4)

    words = [[*((" ##" if index else " ") + character for index, character in enumerate(word))] for word in TEXT.split()]
    words = [[symbol.strip() for symbol in word] for word in words]
    symbols = dict.fromkeys(symbol for word in words for symbol in word)
    model = bpe(["<unk>", *symbols, *(f"##{symbol}" for symbol in symbols if not symbol.startswith("#"))], train(words, 120, "##"), "##", unk_token="<unk>", fuse_unk=True)
    tokens = added(model, "<unk>", ("<mask>", {"normalized": True}))
    yield "subwords", ({"type": "Lowercase"}, sequence("pretokenizers", {"type": "Whitespace"}, {"type": "Punctuation", "behavior": "Isolated"}), model, {"type": "Fuse"}, tokens, None)


def main():
    for seed, (name, (normalizer, pre, model, decoder, tokens, post)) in enumerate(shapes()):
        chance = random.Random(seed)
        words = [*HARD, *TEXT.split(), *(token["content"] for token in tokens), "\n", " ", "  ", "\t"]
        texts = HARD + ["".join(chance.choice(words) + chance.choice(["", " "]) for _ in range(chance.randint(2, 8))) for _ in range(25)]
        top = max(len(model["vocab"]), *(token["id"] + 1 for token in tokens))
        lists = [[chance.randrange(top) for _ in range(chance.randint(0, 9))] for _ in range(25)]
        file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model}
        with open(f"{name}.tokenizer.json", "w", encoding="utf-8", newline="\n") as out:
            json.dump(file, out, ensure_ascii=False, separators=(",", ":"))
        with open(f"{name}.texts.json", "w", encoding="utf-8", newline="\n") as out:
            json.dump({"texts": texts, "tokens": lists}, out)


main()
