"""The orthogonal update against the singular value decomposition, the step against torch's own."""

import pytest
import torch

from lapilli.training.muon import Muon, orthogonal

SHAPES = [(8, 8), (24, 8), (8, 24), (1, 5), (64, 48)]


def matrix(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_update_keeps_the_singular_vectors_and_levels_the_singular_values(shape):
    """M = U S V^T becomes U D V^T with D between 0.65 and 1.25."""
    for seed in range(5):
        given = matrix(shape, seed)
        u, s, vt = torch.linalg.svd(given, full_matrices=False)
        inside = u.T @ orthogonal(given) @ vt.T
        kept = s > 0.02 * s.norm()  # five steps do not lift smaller ones all the way
        assert inside.diagonal()[kept].min() > 0.65
        assert inside.diagonal().max() < 1.25
        assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-4
        assert torch.allclose(orthogonal(given), u @ inside @ vt, atol=1e-4)


def test_the_scale_of_a_matrix_does_not_matter_and_nothing_stays_nothing():
    given = matrix((6, 9))
    for factor in (1e-3, 1e4):
        assert torch.allclose(orthogonal(given * factor), orthogonal(given), atol=1e-4)
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parity
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_steps_are_those_of_torch(shape):
    """Within what bfloat16, in which torch's works, can tell apart."""
    ours, theirs = (torch.nn.Parameter(matrix(shape, 100)) for _ in range(2))
    settings = {"lr": 0.05, "momentum": 0.95, "weight_decay": 0.1}
    optimizers = [Muon([ours], **settings), torch.optim.Muon([theirs], **settings)]
    start = ours.detach().clone()
    for seed in range(4):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = matrix(shape, seed)
            optimizer.step()
        moved = (theirs.detach() - start).norm()
        assert (ours.detach() - theirs.detach()).norm() < 0.03 * moved


def test_a_matrix_without_a_gradient_stays():
    still, moving = torch.nn.Parameter(matrix((3, 3))), torch.nn.Parameter(matrix((3, 3)))
    before = still.detach().clone()
    optimizer = Muon([still, moving], lr=0.1, weight_decay=0.5)
    moving.grad = matrix((3, 3), 1)
    optimizer.step()
    assert torch.equal(still, before)
    assert not torch.equal(moving, before)
