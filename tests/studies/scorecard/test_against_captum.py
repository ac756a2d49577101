"""Methods that captum has too: the same numbers from the same model."""

import numpy as np
import pytest
import torch
from captum import attr as captum
from tests.studies.scorecard import held

from lapilli.inspection.intervention.removal import blurred
from lapilli.studies.scorecard.methods import gradients, perturbation

pytestmark = pytest.mark.parity

MODELS = ("deep", "mistral", "qwen2")


def start_and_baseline(case):
    whole = held.embeddings(case, case.pixels)
    blank = held.embeddings(case, torch.zeros_like(case.pixels))
    return whole, blank


def of_patches(case, attributions):
    return attributions[0].sum(-1)[case.patches.tolist()].detach().double().numpy()


@pytest.mark.parametrize("name", MODELS)
def test_input_x_gradient(name):
    case = held.case(name)
    whole, _ = start_and_baseline(case)
    found = captum.InputXGradient(lambda given: held.centred(case, given)).attribute(whole.requires_grad_())
    np.testing.assert_allclose(gradients.input_gradient(case), of_patches(case, found), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_integrated_gradients(name):
    case = held.case(name)
    whole, blank = start_and_baseline(case)
    found, missed = captum.IntegratedGradients(lambda given: held.centred(case, given)).attribute(
        whole, blank, n_steps=gradients.STEPS, method="riemann_middle", return_convergence_delta=True
    )
    made, error = gradients.integrated_with_error(case)
    np.testing.assert_allclose(made, of_patches(case, found), rtol=1e-4, atol=1e-6)
    change = float((held.centred(case, whole) - held.centred(case, blank)).detach())
    assert error == pytest.approx(abs(float(missed)) / abs(change), abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_occlusion_of_every_patch(name):
    case = held.case(name)
    soft = case.llava.pixels([blurred(case.view)])
    numbers = torch.zeros(case.pixels.shape[-2:], dtype=torch.long)
    for patch in range(len(case.patches)):
        numbers[torch.from_numpy(held.cell_mask(case, [patch]))] = patch
    ablation = captum.FeatureAblation(lambda given: torch.tensor([held.log_prob(case, given)]))
    found = ablation.attribute(case.pixels, soft, feature_mask=numbers.expand(1, 3, -1, -1))[0, 0]
    expected = [float(found[torch.from_numpy(held.cell_mask(case, [patch]))][0]) for patch in range(len(case.patches))]
    np.testing.assert_allclose(perturbation.occlusion(case), expected, rtol=1e-4, atol=1e-5)
