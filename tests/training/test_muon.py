"""The orthogonal update against the singular value decomposition, the step against torch's own."""

import pytest
import torch

from lapilli.training.muon import Muon, layer_matrices, muon_group, orthogonal

SHAPES = [(8, 8), (24, 8), (8, 24), (1, 5), (64, 48)]


def matrix(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_update_keeps_the_singular_vectors_and_levels_the_singular_values(shape):
    """M = U S V^T becomes U D V^T with D between 0.65 and 1.25."""
    for seed in range(5):
        given = matrix(shape, seed)
        u, s, vt = torch.linalg.svd(given, full_matrices=False)
        found = orthogonal(given[None])[0]
        inside = u.T @ found @ vt.T
        kept = s > 0.02 * s.norm()  # five steps do not lift smaller ones all the way
        assert inside.diagonal()[kept].min() > 0.65
        assert inside.diagonal().max() < 1.25
        assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-4
        assert torch.allclose(found, u @ inside @ vt, atol=1e-4)


def test_the_scale_of_a_matrix_does_not_matter_and_nothing_stays_nothing():
    given = matrix((1, 6, 9))
    for factor in (1e-3, 1e4):
        assert torch.allclose(orthogonal(given * factor), orthogonal(given), atol=1e-4)
    assert torch.equal(orthogonal(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


def test_in_a_stack_every_matrix_becomes_what_it_would_alone():
    stack = torch.stack([matrix((7, 4), seed) for seed in range(3)])
    alone = torch.cat([orthogonal(one[None]) for one in stack])
    assert torch.allclose(orthogonal(stack), alone, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_steps_are_those_of_torch(shape):
    """Within what bfloat16, in which torch's works, can tell apart."""
    ours, theirs, other = (torch.nn.Parameter(matrix(shape, 100)) for _ in range(3))
    settings = {"lr": 0.05, "momentum": 0.95, "weight_decay": 0.1}
    optimizers = [Muon([muon_group([other, ours], **settings)]), torch.optim.Muon([theirs], **settings)]
    start = ours.detach().clone()
    for seed in range(4):
        other.grad = matrix(shape, 50 + seed)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = matrix(shape, seed)
            optimizer.step()
        moved = (theirs.detach() - start).norm()
        assert (ours.detach() - theirs.detach()).norm() < 0.03 * moved


def test_a_matrix_without_a_gradient_stays():
    still, moving = torch.nn.Parameter(matrix((3, 3))), torch.nn.Parameter(matrix((3, 3)))
    before = still.detach().clone()
    optimizer = Muon([muon_group([still, moving], lr=0.1, weight_decay=0.5)])
    moving.grad = matrix((3, 3), 1)
    optimizer.step()
    assert torch.equal(still, before)
    assert not torch.equal(moving, before)


def _two_ways():
    """A matrix that Muon moves and two parameters that AdamW does, each twice."""
    return [[torch.nn.Parameter(matrix(shape)) for shape in ((4, 6), (4, 6), (5,))] for _ in range(2)]


def _give_gradients(parameters, seed):
    for offset, parameter in enumerate(parameters):
        parameter.grad = matrix(parameter.shape, 10 * seed + offset)


def test_large_matrices_are_made_orthogonal_one_by_one(monkeypatch):
    """No more than memory is left for; what comes out is the same."""
    whole, split = ([torch.nn.Parameter(matrix((4, 6), seed)) for seed in range(3)] for _ in range(2))
    sizes = []
    for parameters, most in ((whole, 1 << 22), (split, 30)):
        monkeypatch.setattr("lapilli.training.muon._STACKED", most)
        monkeypatch.setattr(
            "lapilli.training.muon.orthogonal", lambda stack: (sizes.append(len(stack)), orthogonal(stack))[1]
        )
        _give_gradients(parameters, 1)
        Muon([muon_group(parameters, lr=0.1)]).step()
    assert sizes == [3, 1, 1, 1]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(whole, split, strict=True))


@pytest.mark.parity
def test_what_is_not_in_a_group_of_muons_moves_as_under_adamw():
    (by_muon, *ours), (_, *theirs) = _two_ways()
    optimizer = Muon([muon_group([by_muon], lr=0.1), {"params": ours}], lr=0.01, weight_decay=0.1)
    reference = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1)
    for seed in range(3):
        _give_gradients([by_muon, *ours], seed)
        _give_gradients(theirs, seed)
        for one, other in zip(ours, theirs, strict=True):
            other.grad = one.grad.clone()
        optimizer.step()
        reference.step()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert not torch.equal(by_muon, _two_ways()[0][0])


def test_its_state_is_the_whole_of_it():
    """Saved and loaded between two steps, both kinds of groups go on as if nothing had been."""
    one, other = _two_ways()
    optimizers = [Muon([muon_group(p[:1], lr=0.1, weight_decay=0.1), {"params": p[1:]}], lr=0.01) for p in (one, other)]
    for seed in range(3):
        for parameters, optimizer in zip((one, other), optimizers, strict=True):
            _give_gradients(parameters, seed)
            optimizer.step()
        fresh = Muon([muon_group(other[:1], lr=9.0), {"params": other[1:]}], lr=9.0)
        fresh.load_state_dict(optimizers[1].state_dict())
        optimizers[1] = fresh
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_only_matrices_of_layers_are_for_muon():
    inner = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2
    )  # its layers are called `layers`
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(5, 8), "encoder": inner, "head": torch.nn.Linear(8, 5)})
    matrices, rest = layer_matrices(model)
    assert sorted(map(id, [*matrices, *rest])) == sorted(map(id, model.parameters()))
    assert len(matrices) == 2 * 4
    assert {p.ndim for p in matrices} == {2}
    assert {id(model["embed"].weight), id(model["head"].weight)} <= set(map(id, rest))
