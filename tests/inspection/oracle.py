"""A model's own numbers, by the slow way: eager attention, one pass over the whole sequence, no cache, then float64.

`traced` makes what is held to them: the traces of a padded batch of mixed prompts and the answers generated to them.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from tests.parts import joined, picture

from lapilli.core.layout import OFF, Role, TokenLayout
from lapilli.data.collate import collate
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.recording import recording
from lapilli.model.llava import load
from lapilli.model.upstream import cache_argument, new_cache

PAIRS = [("clip", "llama"), ("siglip", "qwen2"), ("clip", "mistral")]
ALL_PAIRS = [
    *PAIRS,
    ("clip", "tied_llama"),
    ("siglip", "mha_llama"),
    ("clip", "narrow_mistral"),
    ("clip", "biased_llama"),
]
TOKENS = 20
_NEVER = 10**6  # a stop that no model says

SAMPLES = [
    Sample("text", (), (Turn("user", "How many squares are there?"),)),
    Sample("picture", ("1",), (Turn("user", "<image>\nWhat color is the circle?"),)),
    Sample("pictures", ("2", "3"), (Turn("user", "<image>\n<image>\nIs the red circle left?"),)),
    Sample(
        "turns",
        ("4",),
        (Turn("user", "<image>\nIs it red?"), Turn("assistant", "yes"), Turn("user", "Why?")),
    ),
]


def awake(pair, attention="sdpa", dtype=torch.float32):
    """A model in which no weight of a norm is 1 and no bias 0, as they all are in a new one."""
    llava = load(joined(*pair))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, parameter in sorted(llava.model.named_parameters()):
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    llava.model.set_attn_implementation(attention)
    llava.model.to(dtype)
    return llava


def batch_of(llava, samples, side="left"):
    """The samples' prompts, encoded, and a batch of them."""
    prompts = [encode(sample, llava.codec, for_generation=True) for sample in samples]
    pictures = [picture(int(name)) for prompt in prompts for name in prompt.images]
    pixels = llava.pixels(pictures).to(llava.model.dtype) if pictures else None
    batch = collate(prompts, llava.processor.tokenizer.pad_token_id, side, pixels)
    del batch["labels"]
    return prompts, batch


def generated(llava, batch, count=TOKENS, **more):
    """What transformers generates, with logits; it never stops."""
    settings = {"do_sample": False, "eos_token_id": _NEVER, "pad_token_id": 0, "max_new_tokens": count}
    with torch.inference_mode():
        return llava.model.generate(**batch, **settings, return_dict_in_generate=True, output_logits=True, **more)


def continued(layout, count):
    """The layout of a prompt and `count` tokens of answer."""
    off, turn = np.full(count, OFF), np.full(count, layout.turn.max())
    return TokenLayout(
        role=np.append(layout.role, np.full(count, Role.ANSWER)),
        turn=np.append(layout.turn, turn),
        image=np.append(layout.image, off),
        row=np.append(layout.row, off),
        column=np.append(layout.column, off),
    )


@dataclass(frozen=True, eq=False)
class Case:
    """A trace, the model's own numbers for its sequence, and the logits (query, vocab) that generate gave."""

    name: str
    trace: object
    own: object
    logits: np.ndarray


@cache
def traced(pair):
    """A Case for every sample of SAMPLES: generated in one batch, padded on the left."""
    llava, slow = awake(pair), awake(pair, "eager")
    prompts, batch = batch_of(llava, SAMPLES)
    with recording(llava, whole=True) as record:
        said = generated(llava, batch, **cache_argument(llava.model, new_cache()))
    logits = torch.stack(said.logits, dim=1).numpy()
    new = said.sequences[:, batch["input_ids"].shape[1] :].numpy()
    cases = []
    for index, prompt in enumerate(prompts):
        ids = np.concatenate([prompt.ids, new[index]])
        trace = record.trace(ids, continued(prompt.layout, TOKENS), index)
        pixels = slow.pixels([picture(int(name)) for name in prompt.images]) if prompt.images else None
        cases.append(Case(prompt.id, trace, own_numbers(slow, ids, pixels), logits[index]))
    return cases


@dataclass(frozen=True, eq=False)
class Own:
    """Arrays of float64, straight from the model's modules; H heads of queries, K of keys and values.

    resid (layer + 1, token, d), attn_out and mlp_out (layer, token, d), neurons (layer, token, d_mlp),
    weights (layer, H, token, token), values (layer, K, token, d_head), value_bias (layer, K, d_head), which is not in
    values, logits (token, vocab);
    out (layer, d, H * d_head), out_bias and down_bias (layer, d), down (layer, d, d_mlp), gamma (d,), head (vocab, d)
    """

    resid: np.ndarray
    attn_out: np.ndarray
    mlp_out: np.ndarray
    neurons: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    value_bias: np.ndarray
    logits: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray
    down: np.ndarray
    down_bias: np.ndarray
    gamma: np.ndarray
    head: np.ndarray
    eps: float

    @property
    def sizes(self):
        """Layers, heads of queries, how many of them share keys and values, d_head."""
        layers, heads = self.weights.shape[:2]
        return layers, heads, heads // self.values.shape[1], self.values.shape[-1]

    def constant(self, layer):
        """What a layer's attention adds to any query, (d,): what its values' biases come to, and its matrix's own."""
        _, heads, group, width = self.sizes
        found = self.out_bias[layer].copy()
        for head in range(heads):
            found += self.out[layer][:, head * width : (head + 1) * width] @ self.value_bias[layer, head // group]
        return found

    def scale(self, query):
        """What the last norm divides by, the other way up."""
        return 1 / np.sqrt(np.mean(self.resid[-1, query] ** 2) + self.eps)

    def writes(self, layer, head, query, position):
        """What one head brings from one position to a query, (d,)."""
        _, _, group, width = self.sizes
        matrix = self.out[layer][:, head * width : (head + 1) * width]
        return self.weights[layer, head, query, position] * (matrix @ self.values[layer, head // group, position])

    def frozen(self, vector, query):
        """The logits (vocab,) of a vector under the last norm, with the scale that it has at a query."""
        return self.head @ (self.gamma * vector * self.scale(query))

    def log_prob(self, vector, query, token):
        """The same, as the log-probability of a token."""
        logits = self.frozen(vector, query)
        return logits[token] - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def own_numbers(llava, ids, pixels):
    """Run a model with eager attention over one sequence and keep everything."""
    model, language = llava.model, llava.model.model.language_model
    seen = {}

    def keep(name, layer, what):
        seen.setdefault(name, {})[layer] = what[0].detach()

    handles = []
    for index, block in enumerate(language.layers):
        wrap = {
            "resid": (block, True),
            "normed": (block.self_attn.v_proj, True),
            "attn_out": (block.self_attn.o_proj, False),
            "neurons": (block.mlp.down_proj, True),
            "mlp_out": (block.mlp.down_proj, False),
            "after": (block, False),
        }
        for name, (module, entering) in wrap.items():
            if entering:
                hook = module.register_forward_pre_hook(lambda _, given, n=name, i=index: keep(n, i, given[0]))
            else:
                hook = module.register_forward_hook(lambda _, __, made, n=name, i=index: keep(n, i, made))
            handles.append(hook)
    with torch.no_grad():
        output = model(input_ids=torch.tensor(ids)[None], pixel_values=pixels, output_attentions=True, use_cache=False)
    for handle in handles:
        handle.remove()
    layers = range(len(language.layers))

    def stacked(tensors):
        return torch.stack(list(tensors)).detach().double().numpy()

    blocks = [block.self_attn for block in language.layers]
    made = [seen["normed"][i] @ blocks[i].v_proj.weight.T for i in layers]
    width = blocks[0].head_dim
    return Own(
        resid=stacked([*(seen["resid"][i] for i in layers), seen["after"][layers[-1]]]),
        attn_out=stacked(seen["attn_out"][i] for i in layers),
        mlp_out=stacked(seen["mlp_out"][i] for i in layers),
        neurons=stacked(seen["neurons"][i] for i in layers),
        weights=stacked(weights[0] for weights in output.attentions),
        values=stacked(values.unflatten(-1, (-1, width)).transpose(0, 1) for values in made),
        value_bias=stacked(_bias(block.v_proj).unflatten(0, (-1, width)) for block in blocks),
        logits=output.logits[0].double().numpy(),
        out=stacked(block.o_proj.weight for block in blocks),
        out_bias=stacked(_bias(block.o_proj) for block in blocks),
        down=stacked(block.mlp.down_proj.weight for block in language.layers),
        down_bias=stacked(_bias(block.mlp.down_proj) for block in language.layers),
        gamma=language.norm.weight.detach().double().numpy(),
        head=model.lm_head.weight.detach().double().numpy(),
        eps=language.norm.variance_epsilon,
    )


def _bias(linear):
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias


def close(found, expected, within=1e-5):
    """Equal within 1e-5 of the largest number there is, or of 1 where that is smaller."""
    expected = np.asarray(expected, np.float64)
    found = found.numpy() if isinstance(found, torch.Tensor) else found
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=within * max(1.0, np.abs(expected).max(initial=0)))
