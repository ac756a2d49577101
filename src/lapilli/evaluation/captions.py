"""Whether captions of scenes name the colors that are there, beside another scene's as a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lapilli.core.statistics.clusters import clustered, clustered_mean
from lapilli.core.statistics.proportion import Difference, Proportion
from lapilli.data.scenes.facts import read_scenes
from lapilli.data.scenes.vocabulary import COLORS


@dataclass(frozen=True)
class ColorsMentioned:
    """Of the color words in captions, how many name a color of the picture, and of another scene's picture.

    `gain` is the difference. Words of one caption are a cluster in all three intervals. Without a word there is none.
    """

    own: Proportion
    shuffled: Proportion
    gain: Difference | None


def colors_mentioned(captions: Sequence[str], truths: Sequence[frozenset[str]]) -> ColorsMentioned:
    """Judge captions against the colors of their scenes, and against those of the next scene as a control."""
    mentions = [(number, word) for number, text in enumerate(captions) for word in _words(text) if word in COLORS]
    caption = [number for number, _ in mentions]

    def right(colors: Sequence[frozenset[str]]) -> list[bool]:
        return [word in colors[number] for number, word in mentions]

    own, shuffled = right(truths), right([*truths[1:], *truths[:1]])
    gain = clustered_mean(np.subtract(own, shuffled, dtype=np.float64), caption)
    apart = Difference(gain.value, gain.low, gain.high) if mentions else None
    return ColorsMentioned(clustered(own, caption), clustered(shuffled, caption), apart)


def scene_colors(folder: Path, count: int) -> dict[str, frozenset[str]]:
    """The colors of the things in the first `count` pictures of a folder, by the picture's name."""
    scenes = list(read_scenes(folder).items())[:count]
    return {image: frozenset(thing.color for thing in scene.things) for image, scene in scenes}


def _words(text: str) -> list[str]:
    return text.lower().replace(".", " ").replace(",", " ").replace(":", " ").split()
