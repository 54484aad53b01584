"""The Llama architecture in plain PyTorch, with Hugging Face's tensor names."""
import math

import torch
from torch import nn
from torch.nn import functional as F

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 192, "intermediate_size": 512,
    "num_hidden_layers": 5, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32, "hidden_act": "silu",
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "rope_scaling": None,
    "tie_word_embeddings": True, "vocab_size": 2048, "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False,
    "initializer_range": 0.02, "pretraining_tp": 1, "use_cache": True, "torch_dtype": "bfloat16",
}

BLOCK = 256  # queries per block of the attention


def rope_tables(c, length, dtype=torch.float32):
    d = c["head_dim"]
    freq = 1.0 / (c["rope_theta"] ** (torch.arange(0, d, 2, dtype=torch.float64) / d))
    angle = torch.outer(torch.arange(length, dtype=torch.float64), freq)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x, cos, sin):
    """Hugging Face's rotate_half form of RoPE."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.h, self.kv, self.d = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        n = c["hidden_size"]
        self.q_proj = nn.Linear(n, self.h * self.d, bias=False)
        self.k_proj = nn.Linear(n, self.kv * self.d, bias=False)
        self.v_proj = nn.Linear(n, self.kv * self.d, bias=False)
        self.o_proj = nn.Linear(self.h * self.d, n, bias=False)

    def forward(self, x, cos, sin, mask, past):
        b, t, _ = x.shape
        g = self.h // self.kv
        q = rotate(self.q_proj(x).view(b, t, self.h, self.d).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(b, t, self.kv, self.d).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(b, t, self.kv, self.d).transpose(1, 2)
        # The query heads of one group sit next to each other and share one product.
        q = q.reshape(b * self.kv, g, t, self.d) * (1.0 / math.sqrt(self.d))
        k = k.reshape(b * self.kv, t, self.d)
        v = v.reshape(b * self.kv, t, self.d)
        old = 0
        if past is not None:
            if past:
                old = past[0].shape[1]
                k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
            past[:] = [k, v]
        y = []
        for i in range(0, t, BLOCK):  # a block of queries needs only the keys before its end
            n, j = min(BLOCK, t - i), min(i + BLOCK, t)
            s = torch.bmm(q[:, :, i:j].reshape(b * self.kv, g * n, self.d), k[:, :old + j].transpose(1, 2)).view(b * self.kv, g, n, old + j)
            s[..., old + i:] += mask[i:j, i:j]
            y.append(torch.bmm(torch.softmax(s, dim=-1).view(b * self.kv, g * n, old + j), v[:, :old + j]).view(b * self.kv, g, n, self.d))
        y = torch.cat(y, dim=2)
        return self.o_proj(y.reshape(b, self.h, t, self.d).transpose(1, 2).reshape(b, t, self.h * self.d))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        n, m = c["hidden_size"], c["intermediate_size"]
        self.gate_proj, self.up_proj = nn.Linear(n, m, bias=False), nn.Linear(n, m, bias=False)
        self.down_proj = nn.Linear(m, n, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.self_attn, self.mlp = Attention(c), MLP(c)
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])

    def forward(self, x, cos, sin, mask, past):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, past)
        return x + self.mlp(self.post_attention_layernorm(x))


class Inner(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])


class Llama(nn.Module):
    """Token ids to logits; the output layer is the embedding."""

    def __init__(self, c):
        super().__init__()
        self.c, self.model = c, Inner(c)
        self._tables = {}
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = c["initializer_range"]
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    std /= math.sqrt(2 * c["num_hidden_layers"])
                nn.init.normal_(p, 0.0, std)

    @torch.no_grad()
    def look_back(self):
        """Start with heads that look back, as names in a story and words to be said again need them.

        Heads of the first layer see the token before, and the one before that. With their help heads of the second layer
        find earlier places that followed the same token, and read what came there. Training finds such heads by
        itself, but only after far more tokens than an hour of two cores can see.
        """
        c = self.c
        d, scale = c["head_dim"], c["initializer_range"]
        group = c["num_attention_heads"] // c["num_key_value_heads"]
        first, second = self.model.layers[0].self_attn, self.model.layers[1].self_attn
        fast = 3  # the fastest turning pairs of RoPE tell neighbours apart; the slow half keeps its angle over a whole story
        freq = 1.0 / (c["rope_theta"] ** (torch.arange(0, d, 2, dtype=torch.float64)[:fast] / d))
        slow = [i for i in range(d) if i % (d // 2) >= d // 4]
        embed = self.model.embed_tokens.weight
        own = nn.init.orthogonal_(torch.empty(c["hidden_size"], c["num_key_value_heads"] * d))  # where copies go: tokens start without a part there
        own[0] = 0
        embed -= embed @ own @ own.T
        embed[:, 0] = 4 * scale  # the same for every token: what the first heads ask and answer with
        first.o_proj.weight *= 0.1  # what the values of the copying heads say to the other heads is of no use yet
        second.o_proj.weight *= 0.1
        for kv in range(c["num_key_value_heads"]):
            keys = slice(kv * d, (kv + 1) * d)
            first.k_proj.weight[kv * d:kv * d + fast, 0] = 1.7
            nn.init.orthogonal_(first.v_proj.weight[keys])
            first.v_proj.weight[keys, 0] = 0
            nn.init.orthogonal_(second.v_proj.weight[keys])
            second.v_proj.weight[keys, 0] = 0
            for back in (1, 2):
                at = (kv * group + back - 1) * d
                out = own[:, keys]
                first.q_proj.weight[at:at + fast, 0] = 1.7 * torch.cos(back * freq).float()
                first.q_proj.weight[at + d // 2:at + d // 2 + fast, 0] = -1.7 * torch.sin(back * freq).float()
                if back == 1:
                    first.o_proj.weight[:, at:at + d] = scale * out
                    second.k_proj.weight[[kv * d + i for i in slow]] = 2 * out.T[slow]
                    second.q_proj.weight[[at + i for i in slow]] = 2 * first.v_proj.weight[keys][slow]
                    second.o_proj.weight[:, at:at + d] = 2 * scale * second.v_proj.weight[keys].T

    def tables(self, t, dtype):
        if (t, dtype) not in self._tables:
            cos, sin = rope_tables(self.c, t, dtype)
            self._tables[t, dtype] = cos, sin, torch.full((t, t), float("-inf"), dtype=dtype).triu(1)
        return self._tables[t, dtype]

    def forward(self, ids, last=False, past=None):
        """Logits of all positions, or of the last one; past holds the keys and values of earlier calls."""
        x = self.model.embed_tokens(ids)
        old = past[0][0].shape[1] if past and past[0] else 0
        # Powers of two keep the number of tables small.
        cos, sin, mask = self.tables(max(256, 1 << (old + ids.shape[1] - 1).bit_length()), x.dtype)
        cos, sin = cos[old:old + ids.shape[1]], sin[old:old + ids.shape[1]]
        for i, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, mask, None if past is None else past[i])
        if last:
            x = x[:, -1:]
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)

    def empty_past(self):
        return [[] for _ in self.model.layers]
