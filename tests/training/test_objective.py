"""The loss over labelled positions is transformers' loss, to the number and the gradient."""

import shutil
from functools import partial

import pytest
import torch
from tests.lessons import recipe, write_lesson
from tests.parts import joined, picture
from torch._dynamo.utils import counters

from lapilli.data.pictures import open_picture
from lapilli.data.sample import read_samples
from lapilli.inference.answer import answer
from lapilli.model.llava import load
from lapilli.training.learning import set_learning
from lapilli.training.loop import train
from lapilli.training.objective import AnswerLoss, prepare_passes
from lapilli.training.tuning import LlmTuning, Lora


def _batch(llava):
    texts = ["USER: <image>\nWhat color? ASSISTANT: red", "USER: <image>\nHow many? ASSISTANT: three or four squares"]
    llava.processor.tokenizer.padding_side = "right"
    batch = llava.processor(images=[picture(0), picture(1)], text=texts, padding=True, return_tensors="pt")
    labels = torch.where(batch["attention_mask"] == 1, batch["input_ids"], -100)
    labels[0, :-4] = -100
    labels[1, :-9] = -100
    return {**{name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}, "labels": labels}


@pytest.mark.parity
@pytest.mark.parametrize("items", [None, 17])
@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2")])
def test_it_is_the_loss_of_transformers(pair, items):
    llava = load(joined(*pair))
    batch = _batch(llava)
    extra = {} if items is None else {"num_items_in_batch": torch.tensor(items)}
    ours = AnswerLoss(llava.model)(**batch, **extra)["loss"]
    theirs = llava.model(**batch, **extra).loss
    assert abs(ours.item() - theirs.item()) <= 1e-6 * theirs.item()


@pytest.mark.parity
def test_its_gradient_is_theirs(tmp_path):
    llava = load(joined("clip", "llama"))
    learning = set_learning(recipe(tmp_path, "instruct"), llava)
    parameters = [parameter for part in learning.values() for parameter in part]
    batch = _batch(llava)
    ours = torch.autograd.grad(AnswerLoss(llava.model)(**batch)["loss"], parameters)
    theirs = torch.autograd.grad(llava.model(**batch).loss, parameters)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


def test_the_head_sees_the_labelled_positions_alone():
    llava = load(joined("clip", "llama"))
    batch = _batch(llava)
    seen = []
    llava.model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    AnswerLoss(llava.model)(**batch)
    assert seen == [(int((batch["labels"] != -100).sum()), llava.model.lm_head.out_features)]


def test_a_batch_without_pictures():
    llava = load(joined("clip", "llama"))
    ids = torch.arange(10, 30).reshape(2, 10)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    ours, theirs = AnswerLoss(llava.model)(**batch)["loss"], llava.model(**batch).loss
    assert torch.allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(("stage", "language_learns"), [("align", False), ("instruct", True)])
def test_what_is_frozen_stays_in_eval_mode(stage, language_learns, tmp_path):
    llava = load(joined("clip", "llama"))
    set_learning(recipe(tmp_path, stage), llava)
    AnswerLoss(llava.model).train()
    inner = llava.model.model
    assert not any(module.training for module in inner.vision_tower.modules())
    assert inner.multi_modal_projector.training
    assert inner.language_model.training is language_learns


@pytest.mark.parametrize(("stage", "part"), [("align", "frozen"), ("instruct", "learning")])
def test_layers_are_computed_again_on_the_way_back_and_nothing_else_changes(stage, part, tmp_path):
    found = {}
    for recompute in (False, True):
        llava = load(joined("clip", "llama"))
        wanted = recipe(tmp_path / f"{recompute}", stage, recompute=recompute)
        learning = set_learning(wanted, llava)
        prepare_passes(wanted, llava)
        loss, calls = AnswerLoss(llava.model).train(), []
        layers = llava.model.model.language_model.layers
        layers[0].self_attn.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        total = loss(**_batch(llava))["loss"]
        total.backward()
        found[recompute] = total.item(), [p.grad for some in learning.values() for p in some], len(calls)
        assert layers[0].self_attn.training is (part == "learning")
    assert found[True][0] == found[False][0]
    assert all(torch.equal(one, other) for one, other in zip(found[True][1], found[False][1], strict=True))
    assert (found[False][2], found[True][2]) == (1, 2)


def test_frozen_weights_keep_their_format_with_bf16_and_those_that_learn_do_not(tmp_path):
    for precision, frozen in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        llava = load(joined("clip", "llama"))
        llava.model.to(torch.bfloat16)
        wanted = recipe(tmp_path / precision, "align", precision=precision)
        set_learning(wanted, llava)
        prepare_passes(wanted, llava)
        formats = {p.requires_grad: p.dtype for p in llava.model.parameters()}
        assert formats == {True: torch.float32, False: frozen}


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param(
            "inductor",
            marks=[pytest.mark.slow, pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")],
        ),
    ],
)
def test_compiled_layers_learn_the_same_and_are_compiled_once_for_all_of_them(tmp_path, monkeypatch, backend):
    tuned = {"llm": LlmTuning(mode="lora"), "lora": Lora(2), "data": write_lesson(tmp_path / "lesson", 20)}
    plain = train(recipe(tmp_path / "plain", **tuned), progress=False)
    compiled, answers, compile_module = [], [], torch.nn.Module.compile

    def compile_with(module, **options):
        compiled.append(type(module).__name__)
        compile_module(module, backend=backend, **options)

    def ask(llava):
        samples = read_samples(tuned["data"].file)[:2]
        answers.extend(answer(llava, samples, partial(open_picture, tuned["data"].images), 3))
        return {}

    monkeypatch.setattr(torch.nn.Module, "compile", compile_with)
    torch._dynamo.reset()
    counters.clear()
    run = train(recipe(tmp_path / "compiled", compile=True, **tuned), on_eval=ask, progress=False)
    assert compiled == ["LlamaDecoderLayer"] * 2
    assert 1 <= counters["stats"]["unique_graphs"] <= 2  # of batches with pictures, whose rows have gradients, and not
    assert answers
    losses, others = ([line["loss"] for line in one.metrics() if "loss" in line] for one in (run, plain))
    assert losses == pytest.approx(others, rel=1e-4)
