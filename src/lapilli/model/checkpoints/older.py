"""A tokenizer and a configuration as LLaVA's own environment reads them: transformers 4.37 and tokenizers 0.15.

What can be said in their words is said so, and newer programs read that as well. What cannot is named.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_LATER = {"normalizer": ("ByteLevel",), "pre_tokenizer": ("FixedLength",)}  # kinds that tokenizers 0.15 does not know
_SCALINGS = ("default", "linear", "dynamic")


def older_tokenizer(state: dict[str, Any]) -> list[str]:
    """Rewrite the content of a tokenizer.json for tokenizers 0.15; returns what cannot be said to it, in words.

    Merges become strings, "a b". With a space in a piece they cannot, nor where "#version" begins one: such a string is
    taken for a comment. Then they stay pairs.
    """
    model = state["model"]
    merges = [tuple(merge) for merge in model.get("merges", ()) if not isinstance(merge, str)]
    paired = any(" " in "".join(merge) or merge[0].startswith("#version") for merge in merges)
    if merges and not paired:
        model["merges"] = [" ".join(merge) for merge in merges]
    rules = [(part, rule) for part in ("normalizer", "pre_tokenizer", "decoder") for rule in _rules(state.get(part))]
    for _, rule in rules:
        if rule["type"] == "Metaspace":
            rule["add_prefix_space"] = rule.get("prepend_scheme", "always") != "never"
    lacks = {"merges as pairs": paired, "ignore_merges": model.get("ignore_merges")}
    for part, rule in rules:
        lacks[f"{part} {rule['type']}"] = rule["type"] in _LATER.get(part, ())
        lacks[f"{part} Metaspace without splitting"] = part == "pre_tokenizer" and rule.get("split") is False
    return [name for name, lacking in lacks.items() if lacking]


def later_settings(text: Any) -> list[str]:
    """What a language model's configuration says that transformers 4.37 does not know, in words."""
    rope = getattr(text, "rope_parameters", None) or {}
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    lacks = {
        f"head_dim {head_dim}": head_dim * text.num_attention_heads != text.hidden_size,
        "mlp_bias": getattr(text, "mlp_bias", False),
        f"rope_type {rope.get('rope_type')}": rope.get("rope_type", "default") not in _SCALINGS,
    }
    return [name for name, lacking in lacks.items() if lacking]


def _rules(rule: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A rule of a tokenizer, or those of a sequence."""
    if isinstance(rule, dict):
        yield rule
        for name in ("normalizers", "pretokenizers", "decoders"):
            for inner in rule.get(name, ()):
                yield from _rules(inner)
