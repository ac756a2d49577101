"""Results of a comparison and of a patching study whose truth is known: what each layer brings, and how it changed."""

import numpy as np
from tests.studies.flow import made as made_flow

from lapilli.studies.claims.evidence import Evidence
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.settings import DRAWS, OTHER, RANDOM

N = 80
GAIN = 2.0  # nats of content


def evidence(
    weights,
    *,
    random=0.0,
    random_spread=0.0,
    at_images=1.0,
    form=0.0,
    text=None,
    local=None,
    dimensions=(8.0, 10.0),
    floor=0.01,
    connector=0.0,
    gain=GAIN,
    settled=(0.25, 0.5),
    captions=(0.5, 0.3, 0.2),
    gaps=(-0.2, -0.2, -0.2, 0.1),
    seed=0,
    flow=None,
):
    """What two studies would save of a tuning in which layer l has the share `weights[l]` of the gain.

    random       the share that random changes of all layers bring, `random_spread` the spread of their draws
    at_images    the share of what layers bring that they bring at image tokens; the rest is elsewhere
    form         nats of format gained
    text         the shares of the layers without the picture; the same, if none
    local        the change of every layer itself; as `weights`, if none
    dimensions   those of the tuned and of the base's states in the middle
    floor        how far a second tuning's states are apart
    connector    the share that is in no layer
    gain         nats of content gained
    settled      the depths behind which an image token and a word are turned a tenth as far as before
    captions     the depth at which pictures and captions have most neighbors in common, how many they have there in the
                 tuned model, and how many in the base; none, without captions
    gaps         how much each measure of the gap between them changed
    flow         what a flow study saved; that of text which reads most in the middle, if none
    """
    weights = np.asarray(weights, float)
    rng, plan = np.random.default_rng(seed), Plan(len(weights))
    local = weights + 0.01 if local is None else np.asarray(local, float)
    return Evidence(
        _compared(plan.depth, dimensions),
        _states(plan.depth, local, floor, rng)
        | _turns(plan.depth, settled, np.random.default_rng(seed + 1))
        | _beside_captions(plan.depth, captions, gaps, np.random.default_rng(seed + 2)),
        _patched(plan),
        _answers(
            plan,
            {"image": weights, "text": weights if text is None else text},
            (random + random_spread * rng.standard_normal(DRAWS), at_images),
            form,
            (connector, gain),
            rng=rng,
        ),
        seed,
        *(flow or made_flow.flow(np.hanning(plan.depth + 2)[1:-1])),
    )


def _patched(plan):
    numbers = plan.numbers(plan.controls)
    ways = [*OTHER.items(), *((target, RANDOM) for target in OTHER)]
    return {
        "depth": plan.depth,
        "settings": {"samples": N},
        "candidates": {"fewest": 2, "most": 8},
        "windows": [{"start": a, "stop": b, "at": at} for (a, b), at in _at(plan, plan.windows)],
        "parts": dict(_at(plan, plan.parts)),
        "within": [{"part": part, "what": what, "at": at} for (part, what), at in _at(plan, plan.within)],
        "exchanges": [
            {
                "kind": kind, "target": target, "source": source, "readout": readout,
                "numbers": numbers if source == RANDOM else list(range(len(plan.patches))),
            }
            for kind in ("image", "text") for target, source in ways
            for readout in ("content", "format", "log_p", "likeliest")
        ],
    }  # fmt: skip


def _at(plan, patches):
    return zip(patches, plan.numbers(list(patches.values())), strict=True)


def _of_layers(patch, at_images):
    """What of its layers' share a hybrid has."""
    return {"all": 1.0, "image": at_images, "text": 1 - at_images}[patch.positions]


def _answers(plan, weights, by_part, form, more, *, rng):
    """Every sample gains about as much; a hybrid has the share of its parts, and no two hybrids the same noise."""
    answers, (connector, gain), (random, at_images) = {}, more, by_part
    for kind, shares in weights.items():
        gains = gain + 0.3 * rng.standard_normal(N) * (gain > 0)
        has = np.array(
            [
                _of_layers(patch, at_images) * np.asarray(shares)[list(patch.layers)].sum()
                + connector * patch.connector
                for patch in plan.patches
            ]
        )[:, None]
        controls = random[:, None, None] * np.array([np.mean(patch.layers) for patch in plan.controls])[:, None]
        for target, source in OTHER.items():
            share = has if target == "base" else 1 - has
            true = share * gains + 0.05 * rng.standard_normal((len(plan.patches), N)) * (gain > 0)
            true[0] = gains * (target == "tuned")
            noise = 0.05 * rng.standard_normal((DRAWS, len(plan.controls), N))
            by_chance = (controls if target == "base" else 1 - controls) * gains + noise * (gain > 0)
            for name, content in ((source, true), (RANDOM, by_chance)):
                place = f"{kind}-{target}-{name}"
                also = form * content / GAIN + 0.05 * rng.standard_normal(content.shape) * (gain > 0)
                answers[f"{place}-content"] = content
                answers[f"{place}-format"] = also
                answers[f"{place}-log_p"] = content + also
                answers[f"{place}-likeliest"] = (content > GAIN / 2).astype(float)
    return answers


def _compared(depth, dimensions):
    def curve(middle):
        value = np.full(depth + 2, 5.0)
        value[depth // 2] = middle
        return {"value": value.tolist(), "high": (value + 0.3).tolist()}

    measures = ("gride_2", "gride_4", "gride_8", "gride_16", "gride_32", "participation_ratio")
    curves = dict(zip(("tuned", "base"), map(curve, dimensions), strict=True))
    spaces = [{"kind": "image", "position": "last", "measure": measure, "curves": curves} for measure in measures]
    return {
        "pairs": {"change": ("base", "tuned"), "floor": ("tuned", "floor")},
        "settings": {"level": 0.05},
        "spaces": spaces,
    }


def _states(depth, local, floor, rng):
    """States move apart as the layers before them changed; cosines fall with that."""
    apart = np.concatenate([[0.0], np.cumsum(local), [local.sum()]])[:, None] * (1 + 0.1 * rng.standard_normal((1, N)))
    noise = 1 + 0.1 * rng.standard_normal((depth, N))
    cosines = 1 - apart * (1 - 0.5 * np.arange(depth + 2)[:, None] / depth)
    return {
        "image-last-cosine-change-samples": _first_unmeasured(cosines),
        "image-last-cosine-floor-samples": _first_unmeasured(np.ones_like(apart) - floor * noise.mean(0)),
        "image-image_mean-local-change-samples": local[:, None] * noise,
        "text-question_end-local-change-samples": 0.2 * local[:, None] * noise,
    }


def _first_unmeasured(values):
    """Before the first layer the last token is the same for all samples: nothing is measured there."""
    values[0] = np.nan
    return values


def _turns(depth, settled, rng):
    """Layers turn a token by .5 before it has settled, and by a tenth of that behind."""
    arrays = {}
    for position, at in zip(("image_random", "question_random"), settled, strict=True):
        turn = np.where(np.arange(depth) < at * depth, 0.5, 0.05)[:, None]
        arrays[f"turn-tuned-{position}-samples"] = turn * (1 + 0.2 * rng.standard_normal((depth, N)))
    return arrays


def _beside_captions(depth, captions, gaps, rng):
    """A peak of neighbors in common, alike in both models but for its height, and gaps with errors of .01."""
    if captions is None:
        return {}
    at, arrays = captions[0], {}
    bump = np.exp(-((np.arange(depth + 1) / depth - at) ** 2) / 0.02)[:, None]
    for model, height in zip(("tuned", "base"), captions[1:], strict=True):
        arrays[f"caption-overlap-{model}-samples"] = height * bump + 0.05 * rng.standard_normal((depth + 1, N))
        halves = height * bump[:, 0] + 0.01 * rng.standard_normal((33, depth + 1)) * (np.arange(33) > 0)[:, None]
        arrays[f"caption-overlap-{model}"] = halves
    for name, change in zip(("probe", "cosine"), gaps[:2], strict=True):
        sign = -1 if name == "cosine" else 1  # of an angle: the less, the wider
        arrays[f"caption-{name}-base-samples"] = np.full(N, 1.0)
        arrays[f"caption-{name}-tuned-samples"] = 1.0 + sign * change + _centered(0.1 * rng.standard_normal(N))
    for name, change in zip(("centroids", "homogeneity"), gaps[2:], strict=True):
        arrays[f"caption-{name}-base"] = np.full(33, 1.0)
        arrays[f"caption-{name}-tuned"] = 1.0 + change + 0.02 * rng.standard_normal(33) * (np.arange(33) > 0)
    return arrays


def _centered(noise):
    return noise - noise.mean()
