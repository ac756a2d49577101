"""A second LLaVA, in float64 and in plain sums, that holds what its first reading decided. Then it is an affine map.

Nothing of it is taken from the package or from transformers but weights and sizes, and nothing is differentiated: what
an input brings is what comes out when it is put in alone, less what comes out of nothing.
"""

import math

import torch


class Held:
    """The network of a LlavaForConditionalGeneration's weights; its first `see` and `read` decide what is held."""

    def __init__(self, model):
        self.config = model.config
        self.weights = {name: value.detach().double().cpu() for name, value in model.state_dict().items()}
        self.kept = {}

    def hold(self, name, made):
        return self.kept.setdefault(name, made)

    def linear(self, name, x):
        out = x @ self.weights[f"{name}.weight"].T
        return out + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else out

    def by_head(self, name, x, heads):
        return self.linear(name, x).unflatten(-1, (heads, -1)).transpose(1, 2)

    def mixed(self, weights, values):
        return (weights @ values).transpose(1, 2).flatten(2)

    # The language model: embeddings (batch, token, d_model) to logits (batch, token, vocab).

    def read(self, x):
        for layer in range(self.config.text_config.num_hidden_layers):
            at = f"model.language_model.layers.{layer}"
            x = x + self.causal(f"{at}.self_attn", self.rms(f"{at}.input_layernorm", x))
            x = x + self.gated(f"{at}.mlp", self.rms(f"{at}.post_attention_layernorm", x))
        return self.linear("lm_head", self.rms("model.language_model.norm", x))

    def rms(self, name, x):
        scale = self.hold(name, (x.square().mean(-1, keepdim=True) + self.config.text_config.rms_norm_eps).rsqrt())
        return x * scale * self.weights[f"{name}.weight"]

    def causal(self, name, x):
        text = self.config.text_config
        q = self.by_head(f"{name}.q_proj", x, text.num_attention_heads)
        k, v = (self.by_head(f"{name}.{part}_proj", x, text.num_key_value_heads) for part in "kv")
        k, v = (part.repeat_interleave(text.num_attention_heads // text.num_key_value_heads, 1) for part in (k, v))
        scores = self.turned(q) @ self.turned(k).transpose(2, 3) / math.sqrt(q.shape[-1])
        back = torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])
        seen = (back >= 0) & (back < (getattr(text, "sliding_window", None) or 10**9))
        weights = self.hold(name, scores.masked_fill(~seen, -math.inf).softmax(-1))
        return self.linear(f"{name}.o_proj", self.mixed(weights, v))

    def turned(self, x):
        width = x.shape[-1] // 2
        speed = self.config.text_config.rope_parameters["rope_theta"] ** (-torch.arange(width).double() / width)
        angle = torch.arange(x.shape[2]).double()[:, None] * speed
        a, b = x[..., :width], x[..., width:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def gated(self, name, x):
        gate, up = self.linear(f"{name}.gate_proj", x), self.linear(f"{name}.up_proj", x)
        gate = gate * self.hold(f"{name}.ratio", torch.sigmoid(gate))
        halves = gate * self.hold(f"{name}.up", up) / 2 + self.hold(f"{name}.gate", gate) * up / 2
        return self.linear(f"{name}.down_proj", halves)

    # The vision encoder and the projector: pixels (image, 3, height, width) to rows (image, patch, d_model).

    def see(self, pixels):
        at, sizes = "model.vision_tower", self.config.vision_config
        x = self.patches(f"{at}.embeddings", pixels, sizes.patch_size)
        clip = f"{at}.embeddings.class_embedding" in self.weights
        x = self.norm(f"{at}.pre_layrnorm", x) if clip else x
        for layer in range(sizes.num_hidden_layers + 1 + self.config.vision_feature_layer):
            x = self.looking(f"{at}.encoder.layers.{layer}", x, sizes, clip)
        x = x[:, 1:] if clip else x
        at = "model.multi_modal_projector"
        if f"{at}.layers.0.weight" not in self.weights:
            x = self.linear(f"{at}.linear_1", x)
            return self.linear(
                f"{at}.linear_2", x if self.config.projector_hidden_act == "linear" else self.gelu(at, x)
            )
        x = self.linear(f"{at}.layers.0", x)
        for layer in range(1, int(self.config.connector[3])):
            x = self.linear(f"{at}.layers.{layer}", self.gelu(f"{at}.{layer}", x))
        return x

    def patches(self, name, pixels, side):
        cut = pixels.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        x = cut @ self.weights[f"{name}.patch_embedding.weight"].flatten(1).T
        x = x + self.weights.get(f"{name}.patch_embedding.bias", 0)
        if f"{name}.class_embedding" in self.weights:
            x = torch.cat([self.weights[f"{name}.class_embedding"].expand(len(x), 1, -1), x], 1)
        return x + self.weights[f"{name}.position_embedding.weight"]

    def looking(self, at, x, sizes, clip):
        normed = self.norm(f"{at}.layer_norm1", x)
        q, k, v = (self.by_head(f"{at}.self_attn.{part}_proj", normed, sizes.num_attention_heads) for part in "qkv")
        weights = self.hold(f"{at}.self_attn", (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1))
        x = x + self.linear(f"{at}.self_attn.out_proj", self.mixed(weights, v))
        z = self.linear(f"{at}.mlp.fc1", self.norm(f"{at}.layer_norm2", x))
        tanh = torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
        ratio = self.hold(f"{at}.mlp", torch.sigmoid(1.702 * z) if clip else (1 + tanh) / 2)
        return x + self.linear(f"{at}.mlp.fc2", z * ratio)

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        scale = self.hold(name, (variance + self.config.vision_config.layer_norm_eps).rsqrt())
        return centred * scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def gelu(self, name, z):
        return z * self.hold(f"{name}.gelu", (1 + torch.erf(z / math.sqrt(2))) / 2)


def put(rows, positions, tokens):
    """Sequences (batch, tokens, d_model) of nothing but these rows (batch, n, d_model) at their positions."""
    x = torch.zeros(len(rows), tokens, rows.shape[-1], dtype=torch.float64)
    x[:, positions] = rows
    return x
