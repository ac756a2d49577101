"""What each stage trains, and at which rates."""

import pytest
from tests.lessons import recipe
from tests.parts import joined

from lapilli.model.llava import load
from lapilli.training.learning import set_learning
from lapilli.training.optimizer import parameter_groups
from lapilli.training.stages import ALIGN, INSTRUCT, requirements_of


def _names(llava):
    return {name for name, parameter in llava.model.named_parameters() if parameter.requires_grad}


def test_align_trains_the_projector_alone(tmp_path):
    llava = load(joined("clip", "llama"))
    set_learning(recipe(tmp_path, "align"), llava)
    prefix = "model.multi_modal_projector.linear_"
    assert _names(llava) == {f"{prefix}{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}


def test_the_identity_of_a_linear_connector_never_learns(tmp_path):
    llava = load(joined("clip", "llama", "linear"))
    set_learning(recipe(tmp_path, "align"), llava)
    prefix = "model.multi_modal_projector.linear_1."
    assert _names(llava) == {prefix + "weight", prefix + "bias"}


@pytest.mark.parametrize("language", ["llama", "qwen2"])
def test_instruct_trains_all_but_the_vision_tower(language, tmp_path):
    llava = load(joined("clip", language))
    learning = set_learning(recipe(tmp_path, "instruct"), llava)
    frozen = {name for name, _ in llava.model.named_parameters()} - _names(llava)
    assert frozen == {name for name in frozen if name.startswith("model.vision_tower.")}
    assert any(name.startswith("lm_head") for name in _names(llava)) is (language == "llama")
    listed = [parameter for part in learning.values() for parameter in part]
    assert len(set(listed)) == len(listed) == len(_names(llava))  # tied embeddings are there once


def test_biases_and_norms_do_not_decay_and_parts_have_their_own_rates(tmp_path):
    llava = load(joined("clip", "llama"))
    learning = set_learning(recipe(tmp_path, "instruct"), llava)
    groups = parameter_groups(learning, {"projector": 0.5, "llm": 0.25}, {"projector": 0.1, "llm": 0.1})
    setting = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    by_name = {name: setting[id(p)] for name, p in llava.model.named_parameters() if p.requires_grad}
    assert by_name["model.multi_modal_projector.linear_1.weight"] == (0.5, 0.1)
    assert by_name["model.multi_modal_projector.linear_1.bias"] == (0.5, 0.0)
    assert by_name["model.language_model.layers.0.self_attn.q_proj.weight"] == (0.25, 0.1)
    assert by_name["model.language_model.norm.weight"] == (0.25, 0.0)
    assert by_name["lm_head.weight"] == (0.25, 0.1)


def test_captions_are_plain_and_questions_in_the_models_template():
    align, instruct = (requirements_of(stage, joined("siglip", "qwen2")) for stage in (ALIGN, INSTRUCT))
    assert (align.codec.template, instruct.codec.template) == ("plain", "chatml")
    assert (align.needs_picture, instruct.needs_picture) == (True, False)
