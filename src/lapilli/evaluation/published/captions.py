"""Captions beside those that people wrote: CIDEr, BLEU and ROUGE-L, by pycocoevalcap's own scorers.

The scorers are those of COCO's evaluation (arXiv 1504.00325). Its tokenizer needs Java; here words are letters and
digits in lower case, without punctuation (`words`), so that figures differ a little from those with PTB's tokenizer.
`cider_whitespace` splits at spaces alone, capitals and full stops included, as a study of LLaVA's layers did. CIDEr
takes the frequencies of words from the labels of all answers that are scored: figures of two sets do not compare.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import LapilliError
from lapilli.core.read import json_kind, parsed, read_text
from lapilli.core.statistics.clusters import clustered_mean
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, identifier, read_mapping, read_objects, text_of, texts_of
from lapilli.evaluation.published.figures import figure
from lapilli.evaluation.published.protocol import Judged, Key, Layout, Published, lines_of, require_extra
from lapilli.evaluation.published.resampling import interval_of

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_N = 4  # words of the longest phrases
_LABELS = "annotations/captions_val2014.json"
_TINY, _SMALL = 1e-15, 1e-9  # as BleuScorer has them


def read_captions(file: Path) -> list[AnswerRow]:
    """Rows `{"image_id", "caption"}`, or LLaVA's own."""
    return [
        AnswerRow(
            place,
            identifier(row, ("image_id", "question_id"), place),
            "",
            text_of(row, ("caption", "text"), place),
            row,
        )
        for place, row in read_objects(file)
    ]


def read_labels(files: Sequence[Path]) -> dict[Key, tuple[str, ...]]:
    """The captions of every picture, of `captions_val2014.json` or `{image_id: [captions]}`."""
    labels: dict[Key, tuple[str, ...]] = {}
    for file in files:
        value = parsed(read_text(file, REMEDY), str(file), REMEDY)
        if not isinstance(value, dict):
            raise LapilliError(
                f"{file}: {json_kind(value)}, annotations or {{image_id: [captions]}} expected; {REMEDY}"
            )
        if not isinstance(value.get("annotations"), list):
            labels |= {name: texts_of(texts, f"{file}: {name}") for name, texts in value.items()}
            continue
        for number, row in enumerate(value["annotations"]):
            place = f"{file}, row {number}"
            if not isinstance(row, dict):
                raise LapilliError(f"{place}: {json_kind(row)}, an object expected; {REMEDY}")
            name = identifier(row, ("image_id",), place)
            labels[name] = (*labels.get(name, ()), text_of(row, ("caption",), place))
    return labels


def words(text: str) -> str:
    """The words of a text in lower case, without punctuation, between spaces."""
    return " ".join(_WORD.findall(text.lower()))


def whitespace(text: str) -> str:
    """The text split at white space alone."""
    return " ".join(text.split())


def judge(pairs: Sequence[tuple[AnswerRow, tuple[str, ...]]]) -> list[Judged]:
    """Every caption with its CIDEr as the score, its ROUGE-L, and what BLEU is made of.

    Raises LapilliError where pycocoevalcap is not installed, and for labels without words.
    """
    require_extra("pycocoevalcap")
    plain = [(words(row.text), [words(text) for text in labels]) for row, labels in pairs]
    for (row, _), (_, labels) in zip(pairs, plain, strict=True):
        if not any(labels):
            raise LapilliError(f"{row.place}: no caption of picture {row.id!r} among the labels has words; {REMEDY}")
    raw = [(whitespace(row.text), [whitespace(text) for text in labels]) for row, labels in pairs]
    scores = zip(cider(plain), cider(raw), rouge(plain), bleu_parts(plain), strict=True)
    return [
        Judged(
            row.id, "", row.id, row.text,
            parsed=caption,
            expected=labels[0],
            score=score,
            failed=not caption,
            beside={"whitespace": raw_score, "rouge_l": overlap},
            numbers=parts,
        )
        for (row, labels), (caption, _), (score, raw_score, overlap, parts) in zip(pairs, plain, scores, strict=True)
    ]  # fmt: skip


Texts = Sequence[tuple[str, Sequence[str]]]
"""Captions with those that they are compared with, all as tokens between spaces."""


def cider(texts: Texts) -> list[float]:
    """CIDEr-D of every caption (Vedantam et al. 2015, arXiv 1411.5726), times ten as the library has it."""
    from pycocoevalcap.cider.cider import Cider

    labels, captions = _by_number(texts)
    return [float(score) for score in Cider().compute_score(labels, captions)[1]]


def rouge(texts: Texts) -> list[float]:
    """ROUGE-L of every caption (Lin 2004)."""
    from pycocoevalcap.rouge.rouge import Rouge

    labels, captions = _by_number(texts)
    return [float(score) for score in Rouge().compute_score(labels, captions)[1]]


def bleu_parts(texts: Texts) -> list[dict[str, float]]:
    """The counts of every caption whose sums BLEU is made of: lengths, phrases, and those that are in a label."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=_N)
    for caption, labels in texts:
        scorer += (caption, list(labels))
    return [_parts(counts) for counts in scorer.ctest]


def _parts(counts: Mapping[str, Any]) -> dict[str, float]:
    length = counts["testlen"]
    closest = min((abs(label - length), label) for label in counts["reflen"])[1]
    phrases = {f"{name} {n + 1}": float(counts[name][n]) for name in ("guess", "correct") for n in range(_N)}
    return {"length": float(length), "closest": float(closest), **phrases}


def bleu(weights: NDArray[np.float64], rows: Sequence[Judged], n: int = _N) -> NDArray[np.float64]:
    """BLEU-n (Papineni et al. 2002) of weighted captions together, (draw,), as BleuScorer has it."""

    def total(name: str) -> NDArray[np.float64]:
        scale = len(rows)  # weights sum to 1, and the library's small numbers are beside counts
        return np.asarray(weights @ np.array([row.numbers[name] for row in rows]) * scale)

    shares = [(total(f"correct {k}") + _TINY) / (total(f"guess {k}") + _SMALL) for k in range(1, n + 1)]
    ratio = (total("length") + _TINY) / (total("closest") + _SMALL)
    penalty = np.exp(np.minimum(0, 1 - 1 / ratio))
    return np.asarray(np.prod(shares, axis=0) ** (1 / n) * penalty)


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """CIDEr, BLEU-1 to 4 and ROUGE-L of all captions, and CIDEr of their raw words."""
    pictures = [row.cluster for row in rows]
    every = np.full((1, len(rows)), 1 / len(rows))
    means = {"cider": [row.score for row in rows]}
    means |= {name: [row.beside[key] for row in rows] for name, key in _BESIDE.items()}
    shown: dict[str, Any] = {}
    for name, values in means.items():
        shown |= figure(name, clustered_mean(values, pictures))
    for n in range(1, _N + 1):
        shown[f"bleu_{n}"] = float(bleu(every, rows, n)[0])
    return shown | {"bleu_4_interval": interval_of(rows, bleu), "n": len(rows), "tokenizer": "words"}


_BESIDE = {"cider_whitespace": "whitespace", "rouge_l": "rouge_l"}


def _by_number(texts: Texts) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Labels and captions as the library takes them."""
    labels = {number: list(of) for number, (_, of) in enumerate(texts)}
    return labels, {number: [caption] for number, (caption, _) in enumerate(texts)}


ONE_SENTENCE = "Provide a one-sentence caption for the provided image."
"""What LLaVA-1.5 is asked for a caption (arXiv 2310.03744, table 7)."""


def read_pictures(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pictures of COCO's file of captions, each to be captioned in LLaVA-1.5's words.

    Raises LapilliError where pycocoevalcap, by which captions are scored, is not installed.
    """
    require_extra("pycocoevalcap")
    rows = read_mapping(file).get("images")
    for number, row in enumerate(rows if isinstance(rows, list) else []):
        place = f"{file}, picture {number}"
        if not isinstance(row, dict):
            raise LapilliError(f"{place}: {json_kind(row)}, an object expected; {REMEDY}")
        name, image = identifier(row, ("id",), place), text_of(row, ("file_name",), place)
        yield place, {"question_id": name, "image": image, "text": ONE_SENTENCE}


def written(rows: Sequence[AnswerRow]) -> str:
    """The captions as COCO's evaluation has them."""
    return lines_of({"image_id": row.id, "caption": row.text} for row in rows)


BENCHMARK = Published(
    name="captions",
    version="pycocoevalcap's Cider, BleuScorer and Rouge; words without PTB's tokenizer",
    source="cocodataset.org, annotations/captions_val2014.json, or {image_id: [captions]}",
    references=read_labels,
    answers=read_captions,
    judge=judge,
    figures=figures,
    score="CIDEr",
    layouts={
        "captions": Layout(
            _LABELS, (_LABELS,), "val2014", read_pictures, origin="pictures come from cocodataset.org, val2014.zip"
        )
    },
    answer_tokens=100,
    right_or_wrong=False,
    written=written,
)
