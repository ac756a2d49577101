"""Heads in the metric of what they add to the stream, without making that."""

import torch
from torch import Tensor

from lapilli.inspection.measures.points import Array


def in_output_metric(heads: Array, output_matrix: Tensor) -> Tensor:
    """The outputs of attention heads, turned so that distances are those of what they add to the residual stream.

    `heads` (sample, head, d_head) are before `o_proj`, whose weight is `output_matrix` (d_model, head * d_head). Head i
    adds W_i h, and |W_i h - W_i h'| = |R_i h - R_i h'| with W_i = Q R_i: so R_i h, float64 (sample, head, d_head), has
    the same distances, products and lengths at d_head numbers instead of d_model. Biases add the same to all.
    What two models' heads have in common is then that of their distances, as CKA, overlaps and Procrustes see it: R_i h
    of two output matrices is in two bases, and `cosine` and `relative_l2` of them mean nothing.
    """
    states = torch.as_tensor(heads).double()
    parts = output_matrix.detach().double().unflatten(1, states.shape[1:]).transpose(0, 1)  # (head, d_model, d_head)
    return torch.einsum("hij,shj->shi", torch.linalg.qr(parts).R, states)
