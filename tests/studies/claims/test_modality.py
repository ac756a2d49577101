"""Verdicts on image tokens, words and captions whose truth is known, and the measures that they rest on."""

import numpy as np
import pytest
import torch
from tests.studies.claims.made import evidence
from tests.studies.claims.test_claims import FALLING, verdicts

from lapilli.inspection.measures.points import HALVINGS
from lapilli.studies.claims.claim import LEVEL, finding_of
from lapilli.studies.claims.modality import CLAIMS, _change
from lapilli.studies.compare.modalities import BY_HALVES, BY_SAMPLES, _gaps, _halves, _means, _overlaps

IDS = {claim.id: claim for claim in CLAIMS}


def finding(claim, **changes):
    return finding_of(IDS[claim], evidence(FALLING, **changes), LEVEL / len(IDS))


@pytest.mark.parametrize(
    ("settled", "image", "words"),
    [
        ((0.25, 0.5), "supported", "supported"),
        ((0.25, 0.25), "supported", "refuted"),
        ((0.5, 0.25), "refuted", "refuted"),
        ((0.25, 1.0), "supported", "supported"),
    ],
)
def test_where_image_tokens_and_words_settle(settled, image, words):
    assert verdicts(evidence(FALLING, settled=settled), ("G7", "G7b")) == {"G7": image, "G7b": words}
    assert finding("G7", settled=settled).value == pytest.approx(settled[0])


def test_tokens_that_every_layer_turns_alike_settle_nowhere():
    """Which is against the claim that they do early, and says nothing of whether words do later."""
    image = finding("G7", settled=(1.0, 1.0))
    assert (image.verdict, image.value) == ("refuted", 1.0)
    words = finding("G7b", settled=(1.0, 1.0))
    assert (words.verdict, words.why) == ("untested", "image tokens settle nowhere: no words can settle deeper")


@pytest.mark.parametrize(
    ("captions", "core", "grows"),
    [
        ((0.5, 0.3, 0.2), "supported", "supported"),
        ((0.9, 0.3, 0.3), "refuted", "refuted"),
        ((0.1, 0.3, 0.3), "refuted", "refuted"),
        ((0.5, 0.2, 0.3), "supported", "refuted"),
    ],
)
def test_where_pictures_and_captions_are_most_alike(captions, core, grows):
    assert verdicts(evidence(FALLING, captions=captions), ("G8", "G8b")) == {"G8": core, "G8b": grows}


def test_without_anything_in_common_there_is_no_core():
    assert (
        finding("G8", captions=(0.5, 0.0, 0.0)).why == "pictures and captions have no neighbors in common beyond chance"
    )


@pytest.mark.parametrize(
    ("gaps", "verdict", "value"),
    [
        ((-0.2, -0.3, -0.4, 0.1), "supported", -0.2),
        ((-0.2, -0.3, 0.2, 0.1), "refuted", 0.1),
        ((-0.2, -0.3, -0.05, 0.1), "inconclusive", -0.05),
        ((0.2, 0.2, 0.2, 0.2), "refuted", 0.2),
    ],
)
def test_a_gap_is_narrower_where_three_of_four_measures_say_so(gaps, verdict, value):
    gap = finding("G9", gaps=gaps)
    assert gap.verdict == verdict and gap.value == pytest.approx(value) and gap.low < gap.value < gap.high


@pytest.mark.parametrize(("alike", "verdict"), [(1, "supported"), (2, "untested"), (4, "untested")])
def test_measures_that_are_the_same_in_both_models_say_nothing(alike, verdict):
    """One may be: the other three decide. Two may not, as where probe and clusters are never wrong in either model."""
    made = evidence(FALLING, gaps=(-0.2,) * 4)
    for name in ("probe-tuned-samples", "homogeneity-tuned", "cosine-tuned-samples", "centroids-tuned")[:alike]:
        made.states[f"caption-{name}"] = made.states[f"caption-{name.replace('tuned', 'base')}"]
    gap = finding_of(IDS["G9"], made, LEVEL / len(IDS))
    assert gap.verdict == verdict
    assert verdict == "supported" or gap.why.startswith(f"{alike} of the four measures of the gap are the same")


def test_without_captions_their_claims_are_not_tested():
    for claim in ("G8", "G8b", "G9"):
        assert finding(claim, captions=None).why.startswith("the data has no captions")
    assert finding("G7", captions=None).verdict == "supported"


def test_the_third_measure_has_an_interval_that_holds():
    """Of four gaps that all changed by -.1, drawn with errors of .05, a level of .2 misses in at most 1 of 5 cases."""
    rng, misses = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = evidence(FALLING)
        for name, sign in (("probe", 1), ("cosine", -1)):
            drawn.states[f"caption-{name}-tuned-samples"] = 1 - sign * rng.normal(0.1, 0.05 * np.sqrt(80), 80)
        for name in BY_HALVES:
            halves = rng.normal(0.9, 0.05 * np.sqrt(2), (16, 2))
            drawn.states[f"caption-{name}-tuned"] = np.append(rng.normal(0.9, 0.05), halves.ravel())
        gap = finding_of(IDS["G9"], drawn, 0.2)
        misses += not gap.low <= -0.1 <= gap.high
    assert misses <= 40 + 2 * np.sqrt(200 * 0.2 * 0.8)


def clouds(n=60, apart=0.0, noise=0.1, seed=0):
    """Pictures and captions that share what they are of, `apart` in a direction of its own."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 8))
    image, caption = (np.hstack([shared + noise * rng.standard_normal((n, 8)), np.zeros((n, 1))]) for _ in range(2))
    caption[:, -1] += apart
    return torch.from_numpy(image), torch.from_numpy(caption)


def gaps(**made):
    """Each measure of made clouds, of all samples."""
    return {name.split("-")[1]: values for name, values in _gaps({"tuned": clouds(**made)})}


def test_a_gap_between_clouds_grows_with_their_distance_by_every_measure():
    """But for the angle of a pair: the means are taken off."""
    near, far, loose = gaps(), gaps(apart=20.0), gaps(noise=3.0)
    assert set(near) == {*BY_SAMPLES, *BY_HALVES}
    for name in BY_HALVES:
        assert near[name].shape == (1 + 2 * HALVINGS,) and far[name][0] > near[name][0] + 0.3
    assert far["probe"].mean() > near["probe"].mean() + 0.3
    np.testing.assert_allclose(far["cosine"], near["cosine"], atol=1e-9)
    assert loose["cosine"].mean() < near["cosine"].mean() - 0.3


def test_a_state_without_direction_leaves_its_sample_out():
    made = evidence(FALLING, settled=(0.25, 0.5))
    made.states["turn-tuned-image_random-samples"][3, 7] = np.nan
    assert finding_of(IDS["G7"], made, LEVEL).verdict == "supported"
    assert finding_of(IDS["G7b"], made, LEVEL).verdict == "supported"


def test_the_error_of_neighbors_in_common_holds_what_neighbors_share():
    """Samples are each other's neighbors, and so not independent: halves of them are."""
    rng, figures, errors = np.random.default_rng(0), [], []
    for _ in range(16):
        shared = rng.standard_normal((60, 6))
        caption = torch.from_numpy(shared + 0.7 * rng.standard_normal((60, 6)))
        streams = [[(torch.from_numpy(shared + a * rng.standard_normal((60, 6))), caption)] for a in (0.6, 0.8)]
        of_halves = [
            np.array([_means(part)[0] for part in map(_overlaps, (pairs, *_halves(pairs)))]) for pairs in streams
        ]
        value, error = _change(of_halves[0] - of_halves[1])
        figures.append(value)
        errors.append(error)
    assert np.mean(errors) > 0.8 * np.std(figures, ddof=1)
    assert (
        sum(abs(np.array(figures) - np.mean(figures)) > 1.96 * np.array(errors)) <= 3
    )  # 4 of 16 come once in a hundred


def test_neighbors_in_common_are_those_of_pairs():
    """All for a caption that lies as its picture does, none above chance for those of other pictures."""
    image, caption = clouds(noise=0.0)
    shuffled = caption[torch.from_numpy(np.random.default_rng(1).permutation(60))]
    same, other = _overlaps([(image, caption), (image, shuffled)])
    assert np.allclose(same, 1) and abs(other.mean()) < 0.05
    doubled = torch.cat([caption[:1], caption[:1], caption[2:]])
    assert np.flatnonzero(np.isnan(_overlaps([(image, doubled)])[0])).tolist() == [1]
