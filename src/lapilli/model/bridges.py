"""What joins vision to language in four designs, counted by formula: nothing is built, and torch is not needed.

LLaVA's linear layer (arXiv 2304.08485) and MLP (2310.03744), BLIP-2's Q-Former (2301.12597), Flamingo's Perceiver
resampler with gated cross-attention (2204.14198). `bridges` counts them at any widths, with a formula for each count;
`published` counts at every paper's own widths, beside the paper's figure and what the two differ in. The tests hold
every count to the parameters of real modules, transformers' own where it has the design.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

QUERIES = 32
"""Learned queries of BLIP-2's Q-Former."""

LATENTS, FRAMES = 64, 8
"""Learned latents of Flamingo's resampler, and the frames of a video that it tells apart."""

_Q, _WORDS = 768, 30_522  # of BERT-base, from which the Q-Former begins: its width and its vocabulary


@dataclass(frozen=True)
class Widths:
    """`vision` and `language` are hidden sizes; `layers` is how many of the language model's get cross-attention."""

    vision: int = 1024
    language: int = 4096
    layers: int = 32


@dataclass(frozen=True)
class Bridge:
    """A design: its trainable parameters at some widths, and the formula, in v (vision), d (language), L (layers)."""

    name: str
    paper: str
    formula: str
    widths: Widths
    parameters: int


@dataclass(frozen=True)
class Published:
    """A paper's own figure (in its own words, such as "188M"), our count at its widths, and what they differ in."""

    name: str
    paper: str
    widths: Widths
    parameters: int
    published: str
    difference: str


def bridges(widths: Widths) -> list[Bridge]:
    """Every design at these widths. Each formula gives its count exactly."""
    return [Bridge(name, paper, formula, widths, count(widths)) for name, paper, formula, count in _DESIGNS]


def published() -> list[Published]:
    """Every design, and LLaVA as a whole, at the widths of its paper."""
    return [
        Published(name, paper, widths, count(widths), figure, difference=difference)
        for name, paper, widths, count, figure, difference in _PUBLISHED
    ]


def _linear(w: Widths) -> int:
    return _dense(w.vision, w.language)


def _mlp(w: Widths) -> int:
    return _dense(w.vision, w.language) + _dense(w.language, w.language)


def _llava(w: Widths) -> int:
    return _clip(w.vision) + _mlp(w) + _llama(w.language, w.layers)


def _clip(v: int) -> int:
    """CLIP-L/14 at 336 pixels: 24 x 24 patches and a class token, 24 layers, norms before and after them."""
    layer = 4 * _dense(v, v) + _feed_forward(v, 4 * v) + 2 * _norm(v)
    return v + 3 * 14 * 14 * v + (24 * 24 + 1) * v + 24 * layer + 2 * _norm(v)


def _llama(d: int, layers: int) -> int:
    """A LLaMA without biases, whose vocabulary of 32,000 is padded to 32,064, as LLaVA-1.5's is published."""
    wide = 256 * -(-8 * d // (3 * 256))  # 8/3 of the width, rounded up
    return 2 * 32_064 * d + layers * (4 * d * d + 3 * d * wide + 2 * d) + d


def _q_former(w: Widths) -> int:
    """As it is used: queries, their attention and feed-forwards, and the layer that carries them over."""
    layer = 4 * _dense(_Q, _Q) + _feed_forward(_Q, 4 * _Q) + 2 * _norm(_Q)
    cross = 2 * _dense(_Q, _Q) + 2 * _dense(w.vision, _Q) + _norm(_Q)  # in every second layer
    return 12 * layer + 6 * cross + QUERIES * _Q + _norm(_Q) + _dense(_Q, w.language)


def _q_former_to_train(w: Widths) -> int:
    """As it is trained first: feed-forwards and embeddings for text besides, and the heads of its three tasks.

    The head that predicts words ends in the embeddings themselves, and a bias.
    """
    text = 12 * (_feed_forward(_Q, 4 * _Q) + _norm(_Q)) + (_WORDS + 512) * _Q
    contrast, match, words = 2 * _dense(_Q, 256), _dense(_Q, 2), _dense(_Q, _Q) + _norm(_Q) + _WORDS
    return _q_former(w) - _dense(_Q, w.language) + text + contrast + match + words


def _resampler(w: Widths) -> int:
    """Latents that look at features and at themselves, six times; they tell frames apart."""
    v = w.vision
    return 6 * (_attend_and_transform(v, v) + 2 * _norm(v)) + LATENTS * v + FRAMES * v + _norm(v)


def _gated(w: Widths) -> int:
    """Before every layer a look at the latents: both of its additions begin behind a gate."""
    return w.layers * (_attend_and_transform(w.language, w.vision) + _norm(w.language) + 2)


def _attend_and_transform(d: int, source: int) -> int:
    """Attention over a source and a feed-forward four times as wide, behind a norm, without biases.

    The heads change no count, as long as they are together as wide as the model.
    """
    return 2 * d * d + 2 * source * d + _norm(d) + 2 * d * 4 * d


def _feed_forward(d: int, wide: int) -> int:
    return _dense(d, wide) + _dense(wide, d)


def _dense(before: int, after: int) -> int:
    return before * after + after


def _norm(d: int) -> int:
    return 2 * d


_DESIGNS: list[tuple[str, str, str, Callable[[Widths], int]]] = [
    ("linear", "LLaVA", "v*d + d", _linear),
    ("mlp2x_gelu", "LLaVA-1.5", "v*d + d + d*d + d", _mlp),
    (
        "Q-Former",
        "BLIP-2",
        "12*(12*768*768 + 13*768) + 6*(2*768*768 + 2*v*768 + 6*768) + 32*768 + 2*768 + 768*d + d",
        _q_former,
    ),
    ("Perceiver resampler", "Flamingo", "6*(12*v*v + 6*v) + 64*v + 8*v + 2*v", _resampler),
    ("gated cross-attention", "Flamingo", "L*(10*d*d + 2*v*d + 4*d + 2)", _gated),
]

_FLAMINGO_3B = Widths(vision=1536, language=2048, layers=24)

_PUBLISHED: list[tuple[str, str, Widths, Callable[[Widths], int], str, str]] = [
    ("LLaVA-1.5 7B, all", "LLaVA-1.5", Widths(), _llava, "7.06B", "none"),
    ("LLaVA-1.5 13B, all", "LLaVA-1.5", Widths(language=5120, layers=40), _llava, "13.35B", "none"),
    (
        "Q-Former, as first trained",
        "BLIP-2",
        Widths(vision=1408, language=2560),
        _q_former_to_train,
        "188M",
        "0.7 % less; the paper gives no list of its parts: ours are the encoder with feed-forwards for queries and for "
        "text, cross-attention in every second layer, word and place embeddings, queries and the heads of three tasks",
    ),
    (
        "Q-Former, as used with OPT-2.7B",
        "BLIP-2",
        Widths(vision=1408, language=2560),
        _q_former,
        "107M",
        "none: the layer into the language model included, what is for text left out",
    ),
    (
        "Perceiver resampler",
        "Flamingo-3B",
        _FLAMINGO_3B,
        _resampler,
        "194M",
        "12 % less; the paper does not say how wide a head is: 16 of 96 make the 1,536 counted here, 16 of 128 would "
        "make 189M, and a layer from features 3,072 wide to 1,536 besides 194M",
    ),
    (
        "gated cross-attention",
        "Flamingo-3B",
        _FLAMINGO_3B,
        _gated,
        "1.2B",
        "none, rounded: before each of 24 layers, feed-forwards four times as wide",
    ),
]
