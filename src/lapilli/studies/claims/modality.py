"""Claims about pictures and words in one model: where image tokens settle, and how pictures lie beside their captions.

Depth is from 0, before the first layer, to 1, behind the last. Captions are of the data's own pictures.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.joint import largest_mean_at, place_of_largest_at
from lapilli.inspection.measures.points import halving_error
from lapilli.studies.claims.claim import Claim
from lapilli.studies.claims.evidence import Evidence, Floats
from lapilli.studies.tuning import BASE, TUNED

_IMAGE, _WORD = "image_random", "question_random"
_NO_CAPTIONS = "the data has no captions of all its pictures: context.jsonl"
_ENOUGH = 3  # of the measures of the gap
_CORE = (0.3, 0.7)
_SHARE = 0.5  # of what layers turned a token before, at most, where it has settled


def _image_settles(evidence: Evidence, level: float) -> Estimate | str:
    """The depth by which image tokens have settled in the tuned model."""
    if isinstance(depths := _settled(evidence), str):
        return depths
    return interval(float(depths[0][0]), depths[0][1:], evidence.n, level)


def _words_settle_later(evidence: Evidence, level: float) -> Estimate | str:
    """By how much deeper the words of the question settle than image tokens."""
    if isinstance(depths := _settled(evidence), str):
        return depths
    image, word = depths
    if image[0] == 1:
        return "image tokens settle nowhere: no words can settle deeper"
    return interval(float(word[0] - image[0]), word[1:] - image[1:], evidence.n, level)


def _settled(evidence: Evidence) -> tuple[Floats, Floats] | str:
    """The depth by which an image token and a word have settled: as measured, then in every draw.

    Of the samples without a state of no length, which has no direction.
    """
    turns = np.stack([evidence.turns(TUNED, position) for position in (_IMAGE, _WORD)])
    turns = turns[..., np.isfinite(turns).all((0, 1))]
    if turns.shape[-1] < 2:
        return "the states of all samples but one have no direction somewhere"
    return _step(evidence, turns[0]), _step(evidence, turns[1])


def _step(evidence: Evidence, turns: Floats) -> Floats:
    """The depth behind which layers turn a token, (layer, sample), by at most half as much as before, (1 + draw,).

    Of all depths where that holds it is that of the step that fits best, by least squares; 1 where there is none.
    """
    profiles = np.vstack([turns.mean(1), draws(turns.shape[1], evidence.seed).means(turns.T)])
    ends = range(1, evidence.depth)
    before = np.stack([profiles[:, :end].mean(1) for end in ends], 1)
    after = np.stack([profiles[:, end:].mean(1) for end in ends], 1)
    # What a step at this depth takes off the squares, up to a factor.
    between = np.array(ends) * (evidence.depth - np.array(ends)) * (before - after) ** 2
    between = np.where(after <= _SHARE * before, between, -1.0)
    return np.where(between.max(1) > 0, (between.argmax(1) + 1) / evidence.depth, 1.0)


def _core(evidence: Evidence, level: float) -> Estimate | str:
    """The depth at which pictures and captions have most neighbors in common in the tuned model."""
    if not evidence.has_captions:
        return _NO_CAPTIONS
    overlap = _measured(evidence.caption_overlap(TUNED)[1:])
    if not overlap.size or not largest_mean_at(overlap, evidence.seed, level).low > 0:
        return "pictures and captions have no neighbors in common beyond chance"
    return place_of_largest_at(overlap, (np.arange(len(overlap)) + 1) / evidence.depth, evidence.seed, level)


def _measured(values: Floats) -> Floats:
    """Values (layer, sample) of the samples that were measured everywhere."""
    return values[:, np.isfinite(values).all(0)]


def _core_grows(evidence: Evidence, level: float) -> Estimate | str:
    """By how much more neighbors pictures and captions share in the tuned model's middle than in the base's."""
    if not evidence.has_captions:
        return _NO_CAPTIONS
    depths = np.arange(evidence.depth + 1) / evidence.depth
    middle = (depths >= _CORE[0]) & (depths <= _CORE[1])
    if not middle.any():
        return f"no layer ends between {_CORE[0]} and {_CORE[1]} of the depth"
    tuned, base = (evidence.caption_overlap_of_halves(model)[:, middle].mean(1) for model in (TUNED, BASE))
    change, error = _change(tuned - base)
    if not (math.isfinite(change) and error > 0):
        return "too few distinct states for neighbors of pictures and captions"
    half = NormalDist().inv_cdf(1 - level / 2) * error
    return Estimate(change, change - half, change + half, evidence.n)


def _gap_narrows(evidence: Evidence, level: float) -> Estimate | str:
    """By what the third of four measures of the gap changed, of which three or more fell by as much.

    The intervals of the four hold together (Bonferroni), and so does that of the third. One that is the same for all
    samples in both models, as of a probe that is always right, says nothing of other samples.
    """
    if not evidence.has_captions:
        return _NO_CAPTIONS
    changes = [
        _change_of_mean(evidence, "probe", 1), _change_of_mean(evidence, "cosine", -1),
        _change_of_whole(evidence, "homogeneity"), _change_of_whole(evidence, "centroids", as_share=True),
    ]  # fmt: skip
    value, error = np.array(changes).T
    if not np.isfinite(value).all():
        return "too few distinct states for the gap between pictures and captions"
    if (alike := int((error == 0).sum())) > len(changes) - _ENOUGH:
        return f"{alike} of the four measures of the gap are the same in both models, for all samples: they say nothing"
    half = np.where(error > 0, NormalDist().inv_cdf(1 - level / 2 / len(changes)) * error, math.inf)
    third, low, high = (float(np.sort(ends)[_ENOUGH - 1]) for ends in (value, value - half, value + half))
    return Estimate(third, low, high, evidence.n)


def _change_of_mean(evidence: Evidence, measure: str, sign: int) -> tuple[float, float]:
    """The change of a gap that is a mean over samples, and its error; with -1 it is wider where the mean is less."""
    apart = sign * (evidence.gap_samples(measure, TUNED) - evidence.gap_samples(measure, BASE))
    return float(apart.mean()), float(apart.std(ddof=1)) / math.sqrt(len(apart))


def _change_of_whole(evidence: Evidence, measure: str, as_share: bool = False) -> tuple[float, float]:
    """The change of a gap, or its share of the base's, and its error from halves of the samples."""
    tuned, base = (evidence.gap(measure, model) for model in (TUNED, BASE))
    return _change(tuned / base - 1 if as_share else tuned - base)


def _change(change: Floats) -> tuple[float, float]:
    """A change of all samples, and its error from those of both halves of every halving, (1 + 2 halvings,)."""
    return float(change[0]), halving_error(change[1:].reshape(-1, 2))


CLAIMS: Sequence[Claim] = (
    Claim(
        "G7",
        "Image tokens settle in the first third of the layers.",
        "depth behind which layers turn an image token at most half as far as before; 1 for nowhere",
        "for: image tokens change little behind early layers (arXiv 2604.09425); against: they go on gaining content",
        _image_settles,
        most=0.34,
        by_samples=False,
        fewest=3,
    ),
    Claim(
        "G7b",
        "Words of the question settle deeper than image tokens.",
        "difference of the depths behind which layers turn them at most half as far as before",
        "for: the same",
        _words_settle_later,
        least=0.1,
        by_samples=False,
        fewest=3,
    ),
    Claim(
        "G8",
        "Pictures and their captions are most alike in the middle of the tuned model.",
        "depth at which they have most nearest neighbors in common",
        "for: arXiv 2606.03871 and 2505.17101; against: of some models the last layers",
        _core,
        least=_CORE[0],
        most=_CORE[1],
        by_samples=False,
        fewest=2,
    ),
    Claim(
        "G8b",
        "In the middle, pictures and captions are more alike in the tuned model than in the base.",
        "neighbors in common above chance, tuned less base, mean over depths of .3 to .7",
        "for: arXiv 2606.03871; against: a frozen language model has it already (arXiv 2405.16700)",
        _core_grows,
        least=0.02,
    ),
    Claim(
        "G9",
        "Tuning narrows the gap between pictures and captions in the middle.",
        "change of the gap at half depth by the third of four measures that fell most",
        "for: tuning as joining modalities; against: earlier studies of LLaVA, where measures do not agree",
        _gap_narrows,
        most=-0.05,
        by_samples=False,
    ),
)
