"""Building blocks that several methods share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.inspection.attribution.linear import tracking
from lapilli.inspection.trace import Stream, Trace
from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.method import Map
from lapilli.studies.scorecard.operators import cells_of


def of_word(case: Case, of_queries: NDArray[np.float64]) -> Map:
    """The sum of (query, token) over the key word's queries at the patches, (patch,)."""
    values: Map = of_queries[case.word][:, case.patches].sum(0)
    return values


def by_cell(case: Case, of_pixels: NDArray[np.float64]) -> Map:
    """Sums of (side, side) over each patch's pixels, (patch,)."""
    sums: Map = np.zeros(len(case.patches) + 1)
    np.add.at(sums, cells_of(case).ravel(), of_pixels.ravel())
    return sums[:-1]


def all_paths_tokens(case: Case) -> Map:
    """The key word's centred logit along all paths, by the patch's token; see all_paths.py."""
    trace = case.trace
    paths = all_paths(
        trace.llava, trace.ids, trace.layout, case.pixels, queries=case.queries, target=case.target, to_pixels=False
    )
    patches: Map = paths.positions[:, case.patches].sum(0)
    return patches


def at_every_position(trace: Trace) -> Trace:
    """The trace, recorded whole, with all positions as queries: for whole attention matrices."""
    stream = whole(trace)
    resid = stream.resid.transpose(0, 1)
    return replace(trace, queries=np.arange(len(resid)), resid=resid, rotary=stream.rotary)


def whole(trace: Trace) -> Stream:
    """The stream of every position. Raises ValueError for a trace without it."""
    if trace.stream is None:
        raise ValueError("the trace holds its queries alone; record it with whole=True")
    return trace.stream


@contextmanager
def differentiable(case: Case) -> Iterator[None]:
    """Enable gradients within the block, for inputs that require them, but for no parameter."""
    with tracking(case.llava.model, ()), torch.inference_mode(False), torch.enable_grad():
        yield


def read_embeddings(case: Case, embeddings: Tensor) -> Tensor:
    """The target of the key word with these input embeddings, (batch, token, d_model); (batch,)."""
    read = case.llava.model.model.language_model(inputs_embeds=embeddings, use_cache=False)
    return target_of(case, read.last_hidden_state)


def read_pixels(case: Case, pixels: Tensor) -> Tensor:
    """The target of the key word with these pixel values, (batch, 3, side, side); (batch,)."""
    ids = torch.tensor(case.trace.ids).expand(len(pixels), -1)
    model = case.llava.model
    ids = ids.to(model.device)
    read = model.model(input_ids=ids, pixel_values=pixels.to(model.device, model.dtype), use_cache=False)
    return target_of(case, read.last_hidden_state)


def target_of(case: Case, states: Tensor) -> Tensor:
    """The target, summed over the key word's pieces, of normed states (batch, token, d_model); (batch,)."""
    queries = torch.from_numpy(case.queries).to(states.device)
    logits = case.llava.model.lm_head(states[:, queries]).float()
    ids = torch.from_numpy(case.ids).to(logits.device).expand(len(logits), -1)
    return case.target.of_logits(logits, ids).sum(1)


def embeddings_of(case: Case) -> Tensor:
    """The input embeddings of words and patches, (1, token, d_model): a copy that may require gradients."""
    with torch.inference_mode(False):
        return whole(case.trace).resid[0][None].clone()


def numbers(tensor: Tensor) -> NDArray[np.float64]:
    """A tensor as a float64 array."""
    return tensor.detach().cpu().double().numpy()
