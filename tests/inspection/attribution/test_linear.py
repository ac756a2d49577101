"""What the rules leave alone, what they do where the oracle of all paths does not come by, and that they go away."""

import pytest
import torch
from tests.parts import joined, picture
from torch import nn

from lapilli.core.errors import LapilliError
from lapilli.inspection.attribution.linear import linear_rules, tracking
from lapilli.model.llava import load

PAIRS = [("clip", "llama"), ("siglip", "qwen2"), ("clip", "mistral")]
KEPT = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooks(model):
    return sum(len(getattr(module, name)) for module in model.modules() for name in KEPT)


def gradient_of_mlp(mlp, x):
    """The MLP's output, summed, and its gradient."""
    x = x.clone().requires_grad_()
    out = mlp(x).sum()
    return torch.autograd.grad(out, x)[0]


@pytest.mark.parametrize(("vision", "language"), PAIRS)
def test_logits_are_the_same_to_the_bit(vision, language):
    llava = load(joined(vision, language))
    image = [llava.model.config.image_token_id] * 9
    inputs = {"input_ids": torch.tensor([[5, *image, *range(20, 99)]]), "pixel_values": llava.pixels([picture(1)])}
    plain = llava.model(**inputs).logits
    with linear_rules(llava.model):
        ruled = llava.model(**inputs).logits
        with torch.no_grad():
            unfollowed = llava.model(**inputs).logits
    assert torch.equal(plain, ruled)
    assert torch.equal(plain, unfollowed)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_all_is_as_before_however_it_ends(error):
    model = load(joined("clip", "llama")).model
    model.model.vision_tower.requires_grad_(False)
    before, flags = hooks(model), [parameter.requires_grad for parameter in model.parameters()]
    with pytest.raises(error), tracking(model, [model.model.multi_modal_projector.linear_1.bias]), linear_rules(model):
        assert hooks(model) > before
        assert sum(parameter.requires_grad for parameter in model.parameters()) == 1
        raise error
    assert hooks(model) == before
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    with linear_rules(model):
        assert hooks(model) > before


def test_inside_itself_it_does_nothing_more():
    model = load(joined("clip", "llama")).model
    mlp, x = model.model.language_model.layers[0].mlp, torch.randn(3, 48)
    with linear_rules(model):
        once, count = gradient_of_mlp(mlp, x), hooks(model)
        with linear_rules(model):
            assert hooks(model) == count
            assert torch.equal(gradient_of_mlp(mlp, x), once)
        assert torch.equal(gradient_of_mlp(mlp, x), once)
    assert not torch.allclose(gradient_of_mlp(mlp, x), once)


def test_two_models_are_ruled_apart():
    one, other = (load(joined("clip", language)).model for language in ("llama", "mistral"))
    with linear_rules(one):
        count = hooks(one)
        with linear_rules(other):
            assert hooks(other) > 0
        assert (hooks(one), hooks(other)) == (count, 0)


def test_a_neuron_at_zero_has_the_slope_of_its_activation():
    mlp = (model := load(joined("clip", "llama")).model).model.language_model.layers[0].mlp
    x = torch.randn(3, 48)
    mlp.gate_proj.weight.data[:7, 1:] = 0
    x[:, 0] = 0  # then seven gates are exactly 0, but hang on x
    with linear_rules(model):
        found = gradient_of_mlp(mlp, x)
    gate, up, down = (part.weight.double() for part in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
    gates, ups = x.double() @ gate.T, x.double() @ up.T
    slopes = torch.sigmoid(gates)  # of SiLU, act(z) / z; a half at 0
    expected = (down.sum(0) * ups * slopes / 2) @ gate + (down.sum(0) * gates * slopes / 2) @ up
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert found.isfinite().all()


@pytest.mark.parametrize("vision", ["clip", "siglip"])
def test_a_layer_norm_keeps_its_centring_and_holds_its_scale(vision):
    model = load(joined(vision, "llama")).model
    norm = next(module for module in model.model.vision_tower.modules() if isinstance(module, nn.LayerNorm))
    x = torch.randn(2, norm.normalized_shape[0], requires_grad=True)
    direction = torch.randn(2, norm.normalized_shape[0])
    with linear_rules(model):
        out = norm(x)
    (found,) = torch.autograd.grad(out, x, direction)
    scaled = direction * norm.weight.detach() / (x.detach().var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    torch.testing.assert_close(found, scaled - scaled.mean(-1, keepdim=True), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close((x * found).sum(-1) + (norm.bias * direction).sum(-1), (out * direction).sum(-1))


def test_a_language_model_that_is_built_otherwise_is_refused():
    model = load(joined("clip", "llama")).model
    del model.model.language_model.layers[0].mlp.act_fn
    with pytest.raises(LapilliError, match="can be looked into"), linear_rules(model):
        pass
    assert hooks(model) == 0
