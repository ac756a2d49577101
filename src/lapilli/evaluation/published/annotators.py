"""The accuracy of an answer beside those of several annotators, usually ten. Antol et al. 2015, arXiv 1505.00468."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from lapilli.evaluation.normalize import normalize_answer, normalize_label

_normal_label = lru_cache(maxsize=2**16)(normalize_answer)  # most labels are the same few words
_server_label = lru_cache(maxsize=2**16)(normalize_label)
_ENOUGH = 3  # annotators who agree make an answer right


def soft_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """The mean over the annotators of min(1, k / 3), where k of the others gave this very answer."""
    same = [other == answer for other in annotators]
    matching = sum(same)
    return sum(min(1.0, (matching - one) / _ENOUGH) for one in same) / len(same)


def normalised_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """`soft_accuracy` after VQA's normaliser, as TextVQA's program has it."""
    return soft_accuracy(normalize_answer(answer), list(map(_normal_label, annotators)))


def server_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """As VQAv2's and VizWiz's own program scores what LLaVA uploads.

    The answer is normalised before the upload. Labels are where the annotators differ, by the program's own normaliser,
    which leaves "macy's" as it is, while LLaVA's makes the answer "macy 's". Where all gave the same label it stays as
    it is, so that no answer is right by "the dog".
    """
    plain = [text.replace("\n", " ").replace("\t", " ").strip() for text in annotators]
    normal = normalize_answer(answer)
    if len(set(plain)) == 1:
        return soft_accuracy(normal, plain)
    return soft_accuracy(normalize_label(normal), list(map(_server_label, plain)))
