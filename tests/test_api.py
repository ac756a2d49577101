"""One call to everything: each gives what the command, transformers, or a hook written by hand gives."""

import copy
import json
import pickle
import re
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.inspection.runs import path_of
from tests.parts import joined, picture
from transformers import LlavaForConditionalGeneration

import lapilli
from lapilli.cli import run
from lapilli.core.errors import LapilliError, UsageError
from lapilli.data.encode import encode
from lapilli.data.questions import one_question
from lapilli.inspection.sites import SITES
from lapilli.model.reading import quiet
from lapilli.studies.explain.explanation import Explanation

QUESTION = "What color is the circle?"
PAIRS = [("clip", "llama"), ("siglip", "qwen2"), ("clip", "mistral")]
DOCS = Path(__file__).parents[1] / "docs"


@cache
def loaded(pair):
    return lapilli.load(joined(*pair), device="cpu")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    file = tmp_path_factory.mktemp("pictures") / "noise.png"
    picture(5, 40, 30).save(file)
    return file


def _inputs(llava, image, batch=1):
    prompt = encode(one_question("image", QUESTION), llava.llava.codec, for_generation=True)
    pixels = llava.llava.pixels([Image.open(image)] * batch)
    return {"input_ids": torch.tensor(np.stack([prompt.ids] * batch)), "pixel_values": pixels}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_ask_gives_the_answer_of_the_command(pair, image, capsys):
    assert run(["ask", str(joined(*pair)), str(image), QUESTION, "--max-new-tokens", "9", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["answer"]
    answer = loaded(pair).ask(image, QUESTION, 9)
    assert answer == said == answer.text == str(answer) == f"{answer}" and isinstance(answer, str)
    assert type(answer.text) is type(str(answer)) is str


@pytest.mark.parametrize("limit", [4, 64])
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_an_answers_probabilities_are_those_of_one_forward_pass(pair, limit, image):
    llava = loaded(pair)
    answer = llava.ask(image, QUESTION, limit)
    inputs = _inputs(llava, image)
    prompt = inputs["input_ids"]
    whole = torch.cat([prompt, torch.tensor([answer.ids])], dim=1)
    with torch.inference_mode():
        logits = llava.llava.model(**inputs | {"input_ids": whole}).logits[0, prompt.shape[1] - 1 : -1]
    expected = logits.softmax(-1)[range(len(answer.ids)), list(answer.ids)]
    np.testing.assert_allclose(answer.probabilities, expected, rtol=1e-4)
    assert logits.argmax(-1).tolist() == list(answer.ids) and len(answer.ids) <= limit
    assert answer.probability == prod(answer.probabilities)
    assert (len(answer.ids) == limit) or answer.ids[-1] == llava.llava.stop_id


def test_an_answer_is_a_string_that_stays_as_it_is(image):
    answer = loaded(PAIRS[0]).ask(image, QUESTION, 5)
    for other in (copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):
        assert other == answer and (other.ids, other.probabilities) == (answer.ids, answer.probabilities)
    assert {answer: 1}[str(answer)] == 1 and answer + "!" == f"{answer.text}!"
    with pytest.raises(AttributeError):
        answer.ids = ()


def test_a_picture_is_a_file_an_image_or_an_array(image):
    llava, opened = loaded(PAIRS[0]), Image.open(image)
    answers = [llava.ask(given, QUESTION, 6) for given in (image, str(image), opened, np.asarray(opened))]
    assert len({answer.probabilities for answer in answers}) == 1
    assert llava.ask(picture(6), QUESTION, 6).probabilities != answers[0].probabilities


def test_an_image_that_is_no_rgb_is_read_as_its_file_is(tmp_path):
    llava = loaded(PAIRS[0])
    clear = picture(5, 40, 30).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((40, 30)))
    turned = picture(5, 40, 30)
    turned.getexif()[0x0112] = 6
    for number, given in enumerate((clear, picture(5).convert("P"), picture(5).convert("LA"), turned)):
        file = tmp_path / f"{number}.png"
        given.save(file, exif=given.getexif())
        before = given.tobytes(), given.mode, given.size
        assert llava.ask(given, QUESTION, 3).probabilities == llava.ask(file, QUESTION, 3).probabilities
        assert llava.ask(Image.open(file), QUESTION, 3).probabilities == llava.ask(file, QUESTION, 3).probabilities
        assert (given.tobytes(), given.mode, given.size) == before
    gray = np.asarray(picture(5).convert("L"))
    assert llava.ask(gray, QUESTION, 3).probabilities == llava.ask(np.stack([gray] * 3, -1), QUESTION, 3).probabilities


@pytest.mark.parametrize(
    "options",
    [{}, {"answer": "a red circle", "contrast": "a blue circle"}, {"target": "token", "remove": [1, 2, 5], "seed": 3}],
    ids=["own answer", "contrast", "removed"],
)
def test_explain_gives_the_explanation_of_the_command_to_the_bit(options, image, tmp_path):
    words = {**options, "controls": 2} | ({"remove": "1-2,5"} if "remove" in options else {})
    arguments = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    model = str(joined(*PAIRS[0]))
    line = ["explain", model, str(image), QUESTION, "--out", str(tmp_path / "why"), *arguments]
    assert run([*line, "--device", "cpu", "--json"]) == 0
    theirs, ours = Explanation.load(tmp_path / "why"), loaded(PAIRS[0]).explain(image, QUESTION, **options, controls=2)
    assert ours.arrays.keys() == theirs.arrays.keys() and ours.pictures == theirs.pictures
    assert all(np.array_equal(values, theirs.arrays[name]) for name, values in ours.arrays.items())
    assert _timeless(ours.description) == _timeless(theirs.description)


def _timeless(value):
    """A description without what says when it was made, and how long it took."""
    if isinstance(value, dict):
        return {name: _timeless(held) for name, held in value.items() if name not in ("created", "seconds")}
    return [_timeless(held) for held in value] if isinstance(value, (list, tuple)) else value


def test_an_explanation_shows_saves_and_prints_itself_and_repeats_no_command_of_a_picture_in_no_file(tmp_path):
    mask = np.zeros((3, 3), bool)
    mask[0, :2] = True
    why = loaded(PAIRS[0]).explain(picture(5), QUESTION, answer="a red circle", remove=mask, controls=1)
    why.save(str(tmp_path / "why"))
    assert (tmp_path / "why" / "explanation.html").is_file() and "<iframe" in why._repr_html_()
    assert str(why).startswith("a red circle\n")
    assert {tuple(receipt["done"]["patches"]) for receipt in why.description["receipts"]} == {(0, 1)}
    assert why.description["made_by"]["command"] == [] == why.description["receipts"][0]["command"]


@pytest.mark.parity
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_what_is_captured_is_what_transformers_hands_out(pair, image):
    """The residual stream of all layers, by our names and by TransformerLens', and the picture's own states."""
    llava = loaded(pair)
    inputs = _inputs(llava, image, batch=2)
    with quiet():
        plain = LlavaForConditionalGeneration.from_pretrained(joined(*pair)).eval()
    with torch.inference_mode():
        states = plain(**inputs, output_hidden_states=True).hidden_states
        seen = plain.model.vision_tower(inputs["pixel_values"], output_hidden_states=True).hidden_states
        with llava.capture(["blocks.*.hook_resid_*", "vision.layers.0", "logits"]) as cache:
            logits = llava.llava.model(**inputs).logits
    depth = len(states) - 1
    for layer in range(depth):
        assert torch.equal(cache[f"llm.layers.{layer}.resid_pre"], states[layer])
        assert torch.equal(cache[f"blocks.{layer}.hook_resid_pre"], states[layer])
    for layer in range(depth - 1):
        assert torch.equal(cache[f"blocks.{layer}.hook_resid_post"], states[layer + 1])
    last = plain.model.language_model.norm(cache[f"llm.layers.{depth - 1}.resid_post"])
    assert torch.equal(last, states[-1]) and torch.equal(cache["vision.layers.0"], seen[1])
    assert torch.equal(cache["logits"], logits) and len(cache) == 2 * depth + 2


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_generated_answer_is_captured_as_one_sequence(pair, image):
    llava = loaded(pair)
    with llava.capture(["llm.*", "projector", "logits"]) as cache:
        answer = llava.ask(image, QUESTION, 6)
    inputs = _inputs(llava, image)
    read = torch.cat([inputs["input_ids"], torch.tensor([answer.ids[:-1]], dtype=torch.long)], dim=1)
    with llava.capture(["llm.*", "projector", "logits"]) as at_once, torch.inference_mode():
        llava.llava.model(**inputs | {"input_ids": read})
    assert len(cache) == len(at_once) > 12 and "projector  (1, 9, 48)" in repr(cache)
    for site, passed in cache.items():
        expected = at_once[site][:, -len(answer.ids) :] if site == "logits" else at_once[site]
        torch.testing.assert_close(passed, expected, atol=1e-4, rtol=1e-4)
        assert not passed.is_inference()


def test_heads_are_captured_apart_and_their_sum_is_what_the_attention_adds(image):
    llava = loaded(PAIRS[0])
    with llava.capture("blocks.1.*") as cache:
        llava.ask(image, QUESTION, 3)
    written = llava.llava.model.model.language_model.layers[1].self_attn.o_proj.weight.unflatten(1, (4, -1))
    parts = torch.einsum("bthd,mhd->btm", cache["blocks.1.attn.hook_z"], written)
    torch.testing.assert_close(parts, cache["blocks.1.hook_attn_out"], atol=1e-5, rtol=1e-4)
    added = cache["blocks.1.hook_attn_out"] + cache["blocks.1.hook_mlp_out"]
    torch.testing.assert_close(cache["blocks.1.hook_resid_pre"] + added, cache["blocks.1.hook_resid_post"])


def test_of_several_calls_the_last_is_kept(image):
    """Nothing of the one before: not its tokens, and not its picture where the last one shows none."""
    llava = loaded(PAIRS[0])
    model, inputs = llava.llava.model, _inputs(llava, image)
    text = {"input_ids": inputs["input_ids"][:, :4]}
    with llava.capture(["llm.layers.0.resid_post", "projector"]) as cache, torch.inference_mode():
        assert len(cache) == 0 and "projector" not in cache
        model(**inputs)
        assert cache["projector"].shape == (1, 9, 48)
        output = model(**text)
        assert cache["llm.layers.0.resid_post"].shape == (1, 4, 48) and "projector" not in cache
        held = next(value for value in output.values() if hasattr(value, "get_seq_length"))
        name = "cache" if "cache" in output else "past_key_values"
        model(input_ids=inputs["input_ids"][:, -2:], **{name: held})
        assert cache["llm.layers.0.resid_post"].shape == (1, 6, 48)
        with pytest.raises(RuntimeError):
            model(input_ids=torch.zeros(2, 3, 4, dtype=torch.long))
        model(**text)
    assert cache["llm.layers.0.resid_post"].shape == (1, 4, 48)
    with pytest.raises(KeyError, match="nothing has passed"):
        cache["projector"]


def test_a_capture_keeps_gradients(image):
    llava = loaded(PAIRS[0])
    with llava.capture(["projector"]) as cache:
        logits = llava.llava.model(**_inputs(llava, image)).logits
    (slope,) = torch.autograd.grad(logits[0, -1].max(), cache["projector"])
    assert slope.shape == (1, 9, 48) and slope.abs().sum() > 0


def test_beam_search_is_refused(image):
    llava = loaded(PAIRS[0])
    with llava.capture(["logits"]), pytest.raises(LapilliError, match="num_beams=1"):
        llava.llava.model.generate(**_inputs(llava, image), num_beams=3, max_new_tokens=8, eos_token_id=10**6)


@pytest.mark.parametrize(
    ("site", "near"),
    [
        ("llm.layers.7.resid_post", "llm.layers.1.resid_post"),
        ("llm.layer.1.mlp_out", "llm.layers.1.mlp_out"),
        ("blocks.0.hook_resid_mid", "blocks.0.hook_resid_pre"),
        ("blocks.0.attn.hook_pattern", "blocks.0.attn.hook_z"),
        ("logit", "logits"),
        ("xyz.*", None),
    ],
)
def test_an_unknown_site_is_refused_with_those_that_there_are(site, near):
    llava = loaded(PAIRS[0])
    hooks = _hooks(llava)
    with pytest.raises(UsageError) as error, llava.capture(["projector", site]):
        pass
    assert repr(site) in str(error.value) and "llm.layers.{0-1}.attn_heads" in str(error.value)
    assert (f"the nearest is {near}" in str(error.value)) if near else ("nearest" not in str(error.value))
    assert _hooks(llava) == hooks


def _hooks(llava):
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in llava.llava.model.modules())


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_an_ablated_head_is_one_whose_part_of_the_input_of_o_proj_is_zero(pair, image):
    llava = loaded(pair)
    model, inputs = llava.llava.model, _inputs(llava, image)
    attention = model.model.language_model.layers[1].self_attn

    def zero(module, arguments):
        changed = arguments[0].clone()
        changed[..., 2 * attention.head_dim : 3 * attention.head_dim] = 0
        return (changed, *arguments[1:])

    with torch.inference_mode():
        clean, hooks = model(**inputs).logits, _hooks(llava)  # transformers places some with its first call
        with llava.ablate(heads=[(1, 2)]):
            ablated = model(**inputs).logits
        handle = attention.o_proj.register_forward_pre_hook(zero)
        expected = model(**inputs).logits
        handle.remove()
        assert torch.equal(ablated, expected) and not torch.allclose(ablated, clean)
        assert torch.equal(model(**inputs).logits, clean) and _hooks(llava) == hooks


def test_ablated_patches_are_given_by_number_or_mask_and_may_be_mean_or_resampled(image):
    llava = loaded(PAIRS[0])
    model, inputs = llava.llava.model, _inputs(llava, image)
    grid = np.zeros((3, 3), bool)
    grid.flat[[1, 4]] = True
    other = llava.llava.pixels([picture(9)])
    with torch.inference_mode(), llava.capture("projector") as cache:
        for patches in ([1, 4], np.array([4, 1]), grid, grid.ravel(), grid.reshape(1, 9), torch.tensor([1, 4])):
            with llava.ablate(patches=patches, value="mean"):
                model(**inputs)
        clean = cache["projector"].clone()  # captured before it is changed
        with llava.ablate(patches=grid, value="mean"), llava.capture("projector") as changed:
            model(**inputs)
        with llava.ablate(patches=range(9), value="resample", values=other):
            resampled = model(**inputs).logits
        assert torch.equal(resampled, model(**inputs | {"pixel_values": other}).logits)
    named = torch.from_numpy(grid.ravel())
    expected = clean.clone()
    expected[:, named] = clean.mean(1, keepdim=True)
    torch.testing.assert_close(changed["projector"], expected)


def test_heads_and_patches_may_be_ablated_together_and_nothing_at_all(image):
    llava = loaded(PAIRS[0])
    clean = llava.ask(image, QUESTION, 5).probabilities
    with llava.ablate(), llava.ablate(heads=[], patches=[]):
        assert llava.ask(image, QUESTION, 5).probabilities == clean
    with llava.ablate(heads=[(0, 1)], patches=[3]):
        together = llava.ask(image, QUESTION, 5).probabilities
    with llava.ablate(heads=[(0, 1)]), llava.ablate(patches=[3]):
        assert llava.ask(image, QUESTION, 5).probabilities == together != clean


def test_explain_is_refused_while_what_is_ablated_cannot_be_taken_apart(image):
    llava = loaded(PAIRS[0])
    zeros = {(1, 2): torch.zeros(12)}
    for blocks in (
        [llava.ablate(heads=[(0, 0)])],
        [llava.ablate(heads=[(1, 2)], value="mean", values=zeros)],
        [llava.ablate(heads=[(0, 0)], patches=[3])],
        [llava.ablate(heads=[(0, 0)]), llava.ablate(patches=[3])],
        [llava.ablate(heads=[(0, 0)]), llava.ablate(heads=[(0, 0)]), llava.capture("logits")],
        [llava.ablate(patches=[3], value="blank")],
        [llava.ablate(patches=[3], value="mean", values=torch.ones(48))],
        [llava.ablate(patches=[3]), llava.ablate(patches=[4], value="resample", values=torch.ones(1, 9, 48))],
    ):
        with ExitStack() as stack, pytest.raises(UsageError, match="explain outside the block") as error:
            for block in blocks:
                stack.enter_context(block)
            llava.explain(image, QUESTION, controls=0)
        assert "\n" not in str(error.value)
    assert llava.explain(image, QUESTION, answer="red", controls=0).description["made_by"]["command"]


@pytest.mark.parametrize("value", ["zero", "mean"])
def test_explain_while_patches_are_ablated_is_of_the_ablated_model_and_names_no_command(value, image, tmp_path):
    llava, asked = loaded(PAIRS[0]), {"answer": "a red circle", "controls": 1}
    clean = llava.explain(image, QUESTION, **asked)
    with llava.ablate(patches=[1, 4], value=value):
        why = llava.explain(image, QUESTION, **asked)
    why.save(tmp_path / "why")  # which checks that the parts add up
    assert not np.allclose(why.arrays["image_patches"], clean.arrays["image_patches"])
    assert why.description["made_by"]["command"] == [] == why.description["receipts"][0]["command"]
    assert clean.description["made_by"]["command"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": [(12, 3)]}, "head 3 of layer 12: the model has layers 0 to 1, each with heads 0 to 3"),
        ({"heads": [(0, 4)]}, "heads 0 to 3"),
        ({"heads": [(-1, 0)]}, "layers 0 to 1"),
        ({"heads": [(0, 0)], "value": "mean"}, "give them in shape"),
        ({"heads": [(0, 0)], "value": "loud"}, "choose zero, mean or resample"),
        ({"patches": [9]}, "there are 9 patches, numbered from 0"),
        ({"patches": [-1]}, "there are 9 patches"),
        ({"patches": [0.5]}, "there are 9 patches"),
        ({"patches": np.ones(8, bool)}, "a mask of (3, 3)"),
        ({"patches": [1], "value": "loud"}, "choose zero, mean, blank or resample"),
        ({"patches": [1], "value": "mean", "values": {(0, 0): torch.zeros(12)}}, "values: those of heads"),
        ({"heads": [(0, 1)], "values": torch.zeros(12)}, "values: those of heads"),
    ],
)
def test_what_cannot_be_ablated_is_refused_with_what_can(options, said):
    llava = loaded(PAIRS[0])
    hooks = _hooks(llava)
    with pytest.raises(UsageError) as error, llava.ablate(**options):
        pass
    assert said in str(error.value) and "\n" not in str(error.value) and _hooks(llava) == hooks


def test_what_cannot_be_asked_or_explained_is_one_line(image):
    llava = loaded(PAIRS[0])
    (image.parent / "text.png").write_text("no picture")
    for error, said, call in [
        (UsageError, "question: empty", lambda: llava.ask(image, " ")),
        (UsageError, "holds <image>", lambda: llava.explain(image, "<image> and?")),
        (UsageError, "half a character", lambda: llava.ask(image, "what\ud800")),
        (UsageError, "half a character", lambda: llava.explain(image, QUESTION, answer="red\ud800")),
        (UsageError, "give 1 or more", lambda: llava.ask(image, QUESTION, 0)),
        (LapilliError, "the language model reads 256", lambda: llava.ask(image, QUESTION, 900)),
        (LapilliError, "no such file", lambda: llava.ask("nowhere.png", QUESTION)),
        (LapilliError, "not a picture", lambda: llava.explain(image.parent / "text.png", QUESTION)),
        (UsageError, "give uint8", lambda: llava.ask(np.zeros((4, 4, 3)), QUESTION)),
        (UsageError, "give uint8", lambda: llava.ask(np.zeros((3, 4, 5), np.uint8), QUESTION)),
        (UsageError, "image: a list", lambda: llava.ask([1], QUESTION)),
        (LapilliError, "scale the picture down", lambda: llava.ask(Image.new("L", (1, 900)), QUESTION)),
        (UsageError, "target loud: unknown", lambda: llava.explain(image, QUESTION, target="loud")),
        (UsageError, "leave one of them out", lambda: llava.explain(image, QUESTION, contrast="a", target="token")),
        (UsageError, "name some of them, not all", lambda: llava.explain(image, QUESTION, remove=range(9))),
        (UsageError, "name some of them, not all", lambda: llava.explain(image, QUESTION, remove=[])),
        (UsageError, "there are 9 patches", lambda: llava.explain(image, QUESTION, remove=[12])),
        (UsageError, "controls -1: give 0 or more", lambda: llava.explain(image, QUESTION, controls=-1)),
        (UsageError, "nowhere differs", lambda: llava.explain(image, QUESTION, answer="red", contrast="red")),
    ]:
        with pytest.raises(error) as raised:
            call()
        assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_name_or_a_place_that_is_not_there_is_refused(tmp_path):
    for error, said, options in [
        (UsageError, "no such folder", {"name": tmp_path / "nowhere"}),
        (UsageError, "device 'gpu'", {"name": joined(*PAIRS[0]), "device": "gpu"}),
        (UsageError, "dtype 'fp8'", {"name": joined(*PAIRS[0]), "dtype": "fp8"}),
        (LapilliError, "HF_HUB_OFFLINE", {"name": "org/name@main"}),
        (LapilliError, str(tmp_path), {"name": tmp_path}),
    ]:
        with pytest.raises(error, match=re.escape(said)):
            lapilli.load(**options)


def test_a_dtype_is_followed_and_repeated_in_the_command(image):
    llava = lapilli.load(str(joined(*PAIRS[0])), device="cpu", dtype="bf16")
    assert llava.llava.model.dtype == torch.bfloat16
    command = llava.explain(image, QUESTION, answer="red", controls=0).description["made_by"]["command"]
    assert command[command.index("--dtype") + 1] == "bf16" and command[:3] == [
        "lapilli",
        "explain",
        str(joined(*PAIRS[0])),
    ]


def test_a_model_says_in_one_line_what_it_is():
    said, model = repr(loaded(PAIRS[0])), loaded(PAIRS[0]).llava.model
    assert (
        "\n" not in said and "9 tokens per image" in said and said.startswith("<lapilli.Model clip-llama-mlp2x_gelu:")
    )
    assert re.findall(r"(\w+) [\d.]+[MB]", said) == ["clip_vision_model", "mlp2x_gelu", "llama"]
    total = sum(float(count) for count in re.findall(r"([\d.]+)M\b", said))
    assert total == pytest.approx(sum(weight.numel() for weight in model.parameters()) / 1e6, abs=0.015)


def test_importing_lapilli_loads_next_to_nothing():
    program = """
import sys, lapilli
heavy = {"torch", "numpy", "transformers", "PIL", "rich"}
print(sorted(heavy & set(sys.modules)), {"load", "Model", "Answer"} <= set(dir(lapilli)))
try:
    lapilli.load("nowhere")
except Exception as error:
    print(type(error).__name__, sorted({"torch", "transformers"} & set(sys.modules)))
try:
    lapilli.lode
except AttributeError as error:
    print(error)
"""
    said = subprocess.check_output([sys.executable, "-c", program], text=True).splitlines()
    assert said == ["[] True", "UsageError []", "module 'lapilli' has no attribute 'lode'"]


def test_every_program_of_the_page_runs(tmp_path, monkeypatch, capsys):
    """Of docs/python.md, one after the other, with a tiny model in the place of the one it names."""
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    picture(7, 40, 30).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names = {}
    for program in programs:
        exec(program.replace("llava-hf/llava-1.5-7b-hf", str(path_of("deep"))), names)  # the page's own words
    assert len(programs) >= 8 and (tmp_path / "why-not" / "explanation.html").is_file()
    assert names["stream"].shape[0] == 1 and names["patches"].shape[1] == 9
    assert "9 tokens per image" in capsys.readouterr().out


def test_the_pages_table_of_sites_is_the_codes():
    rows = [
        f"| `{site.name}` | {', '.join(site.axes)} | {site.holds} | {f'`{site.alias}`' if site.alias else ''} |"
        for site in SITES
    ]
    assert "\n".join(rows) in (DOCS / "python.md").read_text(encoding="utf-8")
