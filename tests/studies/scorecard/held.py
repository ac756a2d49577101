"""Cases of tiny models for the tests of the scorecard, and ways to read them again that share nothing with it."""

from functools import cache

import numpy as np
import torch
from tests.inspection.runs import llava_of
from tests.parts import picture

from lapilli.data.sample import Sample, Turn
from lapilli.inspection.recording import answered
from lapilli.studies.scorecard.case import case_of

ASKED = Sample("s", ("0",), (Turn("user", "<image>\nIs the red circle left of it?"),))

COLOR = Sample("c", ("0",), (Turn("user", "<image>\nWhat color is the circle?"),))
"""Of no side: mirrored, it is the same question."""


@cache
def case(name="deep", seed=3, asked=ASKED, said="yes, a blue square"):
    """A question about a picture, answered with a few words."""
    llava = llava_of(name)
    return case_of(llava, asked, answered(llava, asked, said), picture=picture(0), other=picture(1), seed=seed)


def logits(case, embeddings):
    """The word's queries' logits, (batch, query, vocab), of the whole model on embeddings of its own making."""
    return case.llava.model(inputs_embeds=embeddings, use_cache=False).logits[:, case.queries.tolist()].float()


def embeddings(case, pixels):
    """The embeddings of words and patches, (1, token, d_model), made anew."""
    model = case.llava.model
    with torch.no_grad():
        made = model.get_input_embeddings()(torch.tensor(case.trace.ids)[None]).clone()
        features = model.model.get_image_features(pixels, return_dict=True).pooler_output
        made[0, case.patches.tolist()] = torch.cat(list(features))
    return made


def log_prob(case, pixels=None, embeds=None):
    """The word's log-probability, a float, when the picture or the embeddings are these."""
    with torch.no_grad():
        read = logits(case, embeddings(case, pixels) if embeds is None else embeds)[0].log_softmax(-1)
    return float(sum(read[query, token] for query, token in enumerate(case.ids.tolist())))


def centred(case, embeds):
    """The word's centred logit, (batch,), differentiable."""
    read = logits(case, embeds)
    return sum(read[:, query, token] - read[:, query].mean(-1) for query, token in enumerate(case.ids.tolist()))


def cell_mask(case, patches):
    """Which pixels belong to patches, (side, side): by a loop."""
    size = case.llava.model.config.vision_config.patch_size
    _, columns = case.grid
    mask = np.zeros(case.pixels.shape[-2:], bool)
    for patch in patches:
        row, column = divmod(int(patch), columns)
        mask[row * size : (row + 1) * size, column * size : (column + 1) * size] = True
    return mask
