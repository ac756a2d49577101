"""What several methods are made of."""

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


def of_word(case: Case, of_rows: NDArray[np.float64]) -> Map:
    """Of (row, token), the sum over the key word's rows at the patches, (patch,)."""
    found: Map = of_rows[case.word][:, case.patches].sum(0)
    return found


def by_cell(case: Case, of_pixels: NDArray[np.float64]) -> Map:
    """Sums of (side, side) over each patch's pixels, (patch,)."""
    found: Map = np.zeros(len(case.patches) + 1)
    np.add.at(found, cells_of(case).ravel(), of_pixels.ravel())
    return found[:-1]


def all_paths_tokens(case: Case) -> Map:
    """The key word's centred logit along all paths, by the patch's token; as all_paths.py has it."""
    trace = case.trace
    found = all_paths(trace.llava, trace.ids, trace.layout, case.pixels, case.rows, target=case.target, to_pixels=False)
    patches: Map = found.positions[:, case.patches].sum(0)
    return patches


def every_row(trace: Trace) -> Trace:
    """A trace recorded whole, as one whose rows are all positions: for the whole of an attention matrix."""
    stream = whole(trace)
    resid = stream.resid.transpose(0, 1)
    return replace(trace, rows=np.arange(len(resid)), resid=resid, rotary=stream.rotary)


def whole(trace: Trace) -> Stream:
    """The stream of every position. Raises ValueError for a trace without it."""
    if trace.stream is None:
        raise ValueError("the trace holds its rows alone; record it with whole=True")
    return trace.stream


@contextmanager
def differentiable(case: Case) -> Iterator[None]:
    """Within it gradients flow, but to no parameter: to what the method asks for alone."""
    with tracking(case.llava.model, ()), torch.inference_mode(False), torch.enable_grad():
        yield


def read_embeddings(case: Case, embeddings: Tensor) -> Tensor:
    """The target of the key word when these stand where the tokens did, (batch, token, d_model); (batch,)."""
    read = case.llava.model.model.language_model(inputs_embeds=embeddings, use_cache=False)
    return target_of(case, read.last_hidden_state)


def read_pixels(case: Case, pixels: Tensor) -> Tensor:
    """The target of the key word when the picture has these values, (batch, 3, side, side); (batch,)."""
    ids = torch.tensor(case.trace.ids).expand(len(pixels), -1)
    model = case.llava.model
    ids = ids.to(model.device)
    read = model.model(input_ids=ids, pixel_values=pixels.to(model.device, model.dtype), use_cache=False)
    return target_of(case, read.last_hidden_state)


def target_of(case: Case, states: Tensor) -> Tensor:
    """The target, summed over the key word's pieces, of normed states (batch, token, d_model); (batch,)."""
    rows = torch.from_numpy(case.rows).to(states.device)
    logits = case.llava.model.lm_head(states[:, rows]).float()
    ids = torch.from_numpy(case.ids).to(logits.device).expand(len(logits), -1)
    return case.target.of_logits(logits, ids).sum(1)


def embeddings_of(case: Case) -> Tensor:
    """What the language model reads, words and patches, (1, token, d_model): a copy that can be differentiated by."""
    with torch.inference_mode(False):
        return whole(case.trace).resid[0][None].clone()


def numbers(tensor: Tensor) -> NDArray[np.float64]:
    """As float64 numbers on the CPU."""
    return tensor.detach().cpu().double().numpy()
