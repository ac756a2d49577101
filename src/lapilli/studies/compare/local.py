"""What each layer itself changed: both models' layer on the same states, at every position of every sample."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lapilli.data.collate import collate
from lapilli.data.encode import Encoded
from lapilli.data.sample import Sample
from lapilli.inspection.intervention.patching import local_changes
from lapilli.inspection.streams import POSITIONS, prompt_of
from lapilli.model.llava import Llava

BATCH = 8
"""The prompts of a call."""

STATES = ("first", "second")
"""On whose states both models' layers run: the pair's first model's, or its second's."""


def changed_layers(
    models: tuple[Llava, Llava],
    samples: Sequence[Sample],
    pictures: Callable[[str], Image.Image],
    positions: Sequence[str],
    note: Callable[[int], None],
) -> dict[str, NDArray[np.float64]]:
    """`POSITION.STATES` of every position and of STATES: the change of every layer for every sample, (layer, sample).

    It is |second layer(h) - first layer(h)| / |first layer(h) - h|, of several tokens the mean. `note` gets the number
    of samples that are done. Raises LapilliError for models that do not fit each other, as `local_changes` does.
    """
    parts = []
    for start in range(0, len(samples), BATCH):
        parts.append(_of_batch(models, samples[start : start + BATCH], pictures, positions))
        note(min(start + BATCH, len(samples)))
    return {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}


def _of_batch(
    models: tuple[Llava, Llava],
    samples: Sequence[Sample],
    pictures: Callable[[str], Image.Image],
    positions: Sequence[str],
) -> dict[str, NDArray[np.float64]]:
    prompts = [prompt_of(models[0], sample) for sample in samples]
    batch = batch_of(models[0], prompts, pictures)
    sequence, token, group = _tokens(prompts, positions)
    changes = local_changes(*models, batch, (sequence, token))
    count, size = len(positions) * len(prompts), torch.bincount(group)
    arrays = {}
    for states, change in zip(STATES, changes, strict=True):
        sums = torch.zeros(len(change), count, dtype=torch.float64).index_add_(1, group, change.double().cpu())
        for number, position in enumerate(positions):
            those = slice(number * len(prompts), (number + 1) * len(prompts))
            arrays[f"{position}.{states}"] = (sums / size)[:, those].numpy()
    return arrays


def batch_of(
    llava: Llava, prompts: Sequence[Encoded], pictures: Callable[[str], Image.Image], labels: bool = False
) -> dict[str, Tensor]:
    """What the model is called with for these prompts, padded on the right."""
    opened = [pictures(name) for prompt in prompts for name in prompt.images]
    batch = collate(prompts, llava.codec.tokenizer.pad_token_id, "right", llava.pixels(opened) if opened else None)
    if not labels:
        del batch["labels"]
    return batch


def _tokens(prompts: Sequence[Encoded], positions: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """The sequence and the token of everything that is read, and the number of its position and sample together."""
    rng = np.random.default_rng(0)  # of positions that are drawn; none here is
    sequences, tokens, groups = [], [], []
    for number, position in enumerate(positions):
        for at, prompt in enumerate(prompts):
            chosen = POSITIONS[position](prompt.layout, rng)
            tokens.append(torch.from_numpy(np.asarray(chosen, np.int64)))
            sequences.append(torch.full((len(chosen),), at))
            groups.append(torch.full((len(chosen),), number * len(prompts) + at))
    return torch.cat(sequences), torch.cat(tokens), torch.cat(groups)
