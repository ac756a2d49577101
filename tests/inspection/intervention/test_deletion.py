"""What the direct decomposition predicts, made to happen: a position deleted at a query, with all that follows frozen.

With every later output held, and the last norm's scale too, the change of the target is exactly what was predicted.
"""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from tests.inspection.runs import MODELS, llava_of, read, sample

from lapilli.inspection.attribution.direct import decompose, head_positions, readouts
from lapilli.inspection.sites import watching
from lapilli.inspection.target import Target


def _attention(llava, run):
    """What every query looks at in every layer, (layer, head, token, token), from eager attention."""
    with torch.inference_mode():
        read_ids = torch.from_numpy(run.trace.ids)[None]
        found = llava.model(input_ids=read_ids, pixel_values=run.pixels, output_attentions=True).attentions
    return torch.stack([one[0] for one in found])


def _brought(llava, trace, weights, layer, query, position):
    """What the heads of a layer bring from a position to a query, (d_model,): alpha * V * W_O, head by head."""
    attention = llava.model.model.language_model.layers[layer].self_attn
    heads = weights.shape[1]
    matrix = attention.o_proj.weight.detach().unflatten(1, (heads, -1))
    group = heads // trace.values[layer].shape[0]
    return sum(
        weights[layer, head, query, position] * (matrix[:, head] @ trace.values[layer][head // group, position])
        for head in range(heads)
    )


def _frozen(trace, query, deleted):
    """Watchers that hold every output of one query as it was, less what is deleted of the attention's, by layer."""

    def held(value):
        def change(passing):
            changed = passing.clone()
            changed[0, query] = value
            return changed

        return change

    at = int(np.searchsorted(trace.queries, query))
    for layer, gone in enumerate(deleted):
        yield f"llm.layers.{layer}.attn_out", held(trace.attn_out[at, layer] - gone)
        yield f"llm.layers.{layer}.mlp_out", held(trace.mlp_out[at, layer])


def _scale_held(trace, query):
    scale = trace.decoder.scale(trace.resid[int(np.searchsorted(trace.queries, query)), -1])

    def change(norm, arguments, output):
        changed = output.clone()
        changed[0, query] = arguments[0][0, query] * norm.weight * scale
        return changed

    return change


@pytest.mark.parametrize("target", [Target(), Target("token"), Target("difference", against=9)])
@pytest.mark.parametrize("name", MODELS)
def test_deleting_a_position_with_the_rest_frozen_changes_the_target_as_predicted(name, target):
    llava, eager = llava_of(name), llava_of(name, "eager")
    run = read(llava, sample())
    trace = run.trace
    weights = _attention(eager, run)
    direct, ids = decompose(trace, target), torch.from_numpy(trace.next_ids)
    inputs = {"input_ids": torch.from_numpy(trace.ids)[None], "pixel_values": run.pixels}
    image = int(np.argmax(trace.layout.image >= 0))
    for at, query in [(0, int(trace.queries[0])), (len(trace.queries) - 1, int(trace.queries[-1]))]:
        for position in (0, image + 4, query):
            layers = range(trace.decoder.depth)
            deleted = [_brought(llava, trace, weights, layer, query, position) for layer in layers]
            with ExitStack() as hooks, torch.inference_mode():
                norm = trace.decoder.norm
                hooks.callback(norm.register_forward_hook(_scale_held(trace, query)).remove)
                hooks.enter_context(watching(llava.model, dict(_frozen(trace, query, deleted))))
                logits = llava.model(**inputs).logits[0, query]
            change = float(target.of_logits(logits, ids[at])) - direct.value[at]
            predicted = direct.positions[at, position]
            size = max(abs(direct.value[at]), abs(predicted))
            assert change == pytest.approx(-predicted, abs=1e-5 * size)
            by_head = [
                head_positions(trace, readouts(trace, target, torch.from_numpy(trace.next_ids)), layer)[at, :, position]
                for layer in layers
            ]
            assert float(sum(parts.sum() for parts in by_head)) == pytest.approx(predicted, rel=1e-4, abs=1e-6)
