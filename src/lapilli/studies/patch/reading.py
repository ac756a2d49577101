"""What hybrids make of the candidates of every sample, teacher-forced: each token after the true ones before it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lapilli.data.collate import collate
from lapilli.data.encode import IGNORED, Encoded
from lapilli.data.sample import Sample
from lapilli.inference.greedy import require_numbers
from lapilli.inspection.intervention.patching import Patch, hybrids
from lapilli.inspection.recording import answered
from lapilli.model.llava import Llava
from lapilli.studies.candidates import MOST

AT_ONCE = 16
"""The sequences of a call: the states of both models are kept at every depth."""

Floats: TypeAlias = NDArray[np.float64]


def read_answers(
    pair: tuple[Llava, Llava],
    samples: Sequence[Sample],
    candidates: Sequence[Sequence[str]],
    pictures: Callable[[str], Image.Image],
    patches: Sequence[Patch],
) -> dict[str, NDArray[Any]]:
    """`log_p` of every candidate, (patch, sample, MOST), and `exact`, bool (patch, sample), of a target and a source.

    log p is the sum over the tokens of the answer and of the stop behind it, in nats; nan where a sample has no more
    candidates. `exact` is whether each token of the first candidate, the right one, is the likeliest. Raises
    LapilliError for a sample that cannot be encoded or is too long, and as `hybrids` does.
    """
    sequences = [
        answered(pair[0], sample, text) for sample, texts in zip(samples, candidates, strict=True) for text in texts
    ]
    batches = [sequences[start : start + AT_ONCE] for start in range(0, len(sequences), AT_ONCE)]
    read = np.concatenate([_of_batch(pair, batch, pictures, patches) for batch in batches], 2)
    log_p = np.full((len(patches), len(samples), MOST), np.nan)
    exact = np.empty((len(patches), len(samples)), np.bool_)
    start = 0
    for number, texts in enumerate(candidates):
        log_p[:, number, : len(texts)] = read[:, 0, start : start + len(texts)]
        exact[:, number] = read[:, 1, start] == 0
        start += len(texts)
    return {"log_p": log_p, "exact": exact}


def _of_batch(
    pair: tuple[Llava, Llava],
    sequences: Sequence[Encoded],
    pictures: Callable[[str], Image.Image],
    patches: Sequence[Patch],
) -> Floats:
    """Of every sequence the log-probability of its answer and how many of its tokens are not the likeliest.

    (patch, 2, sequence).
    """
    llava = pair[0]
    opened = [pictures(name) for sequence in sequences for name in sequence.images]
    pixels = llava.pixels(opened) if opened else None
    batch = collate(sequences, llava.codec.tokenizer.pad_token_id, "right", pixels)
    labels = batch.pop("labels")
    sequence, token = (labels != IGNORED).nonzero(as_tuple=True)
    right = labels[sequence, token]

    def read(logits: Tensor) -> Tensor:
        logits = require_numbers(right, logits)
        here = right.to(logits.device)
        log_p = logits.log_softmax(-1).gather(1, here[:, None])[:, 0]
        of_tokens = torch.stack([log_p.double(), (logits.argmax(-1) != here).double()]).cpu()
        return torch.zeros(2, len(sequences), dtype=torch.float64).index_add_(1, sequence, of_tokens)

    return torch.stack(hybrids(*pair, batch, (sequence, token - 1), patches, read=read)).numpy()
