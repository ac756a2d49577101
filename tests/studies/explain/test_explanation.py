"""From an answer to the folder: what is written is what was computed, and the folder holds to its schema and sums."""

import io
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.parts import joined, picture
from transformers import CLIPImageProcessorPil

from lapilli.core.errors import LapilliError
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.answer_words import answer_text, isolate_query
from lapilli.inspection.attribution.contrast import contrasted
from lapilli.inspection.attribution.sources import ALL_PATHS, DIRECT, DOUBTFUL_FROM
from lapilli.inspection.intervention.receipt import Claim
from lapilli.inspection.intervention.removal import blurred, reread
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.target import Target
from lapilli.model.llava import Llava, load
from lapilli.model.pixels import Pixels
from lapilli.report.explanation import bundle
from lapilli.studies.explain.arrays import AXES
from lapilli.studies.explain.explanation import Explanation, explanation
from lapilli.studies.explain.findings import REMOVALS, TracedPicture, explain
from lapilli.studies.explain.summary import summary

ASKED = Sample("question", ("noise",), (Turn("user", "<image>\nWhat color is the circle?"),))
ANSWER = "a small blue triangle, red"
COMMAND = ["lapilli", "explain", "MODEL", "IMAGE", "QUESTION"]
PAIRS = [("clip", "llama"), ("siglip", "qwen2"), ("clip", "mistral")]
NOISE = picture(7, 40, 30)


@cache
def found(pair, kind="centred"):
    llava = load(joined(*pair))
    trace = traced(llava, answered(llava, ASKED, ANSWER), llava.pixels([NOISE]), whole=True)
    target, at = (Target(kind), None) if kind != "difference" else contrasted(trace, ASKED, "a small green triangle")
    return explain(trace, NOISE, target, at, controls=3, seed=5)


def made(pair, kind="centred"):
    findings = found(pair, kind)
    return explanation(findings, NOISE, "tiny", COMMAND)


@pytest.mark.parametrize("kind", ["centred", "token", "difference"])
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_the_folder_holds_to_its_schema_and_its_sums(pair, kind, tmp_path):
    out = tmp_path / "why"
    made(pair, kind).save(out)
    description, arrays = bundle.read(out)
    bundle.check(description, arrays)
    without = {name for name in AXES if kind == "difference" and name.startswith("alternatives")}
    assert set(arrays) == set(AXES) - without
    assert {file.name for file in out.iterdir()} >= {"explanation.html", "image.png", "view.png", "receipts"}
    assert description["method"]["target"]["kind"] == kind
    assert all(check["passed"] for check in description["checks"])


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_the_arrays_are_what_was_found(pair):
    findings, arrays = found(pair), made(pair).arrays
    patches = findings.trace.layout.patches(0).ravel()
    direct, paths = findings.decomposition.direct, findings.decomposition.all_paths
    for name, expected in {
        "image_patches": direct.positions[:, patches],
        "heads": direct.heads,
        "heads_image": direct.heads_image,
        "all_paths_patches": paths.positions[:, patches],
        "all_paths_pixels": paths.cells[:, 0].reshape(len(direct.value), -1),
        "routes": findings.decomposition.routes.log_prob_change,
        "lens_ids": findings.decomposition.lens.ids,
    }.items():
        assert np.array_equal(arrays[name], expected.astype(arrays[name].dtype)), name
    assert np.allclose(arrays["heads_image"].sum((1, 2)), arrays["sources"][:, DIRECT.index("image")], atol=1e-5)
    assert np.allclose(arrays["sources"].sum(1), direct.value, atol=1e-5)
    assert np.allclose(arrays["all_paths_sources"].sum(1), direct.value, atol=1e-5)
    assert arrays["all_paths_sources"].shape[1] == len(ALL_PATHS)


@pytest.mark.parametrize("kind", ["centred", "difference"])
def test_how_far_each_words_maps_cancel_is_written_and_said(kind):
    shown = made(PAIRS[0], kind)
    maps = {"direct": "image_patches", "all paths": "all_paths_patches", "pixels": "all_paths_pixels"}
    for word in shown.description["answer"]["words"]:
        rows = slice(*word["tokens"])
        for name, number in word["condition_numbers"].items():
            values = shown.arrays[maps[name]][rows].sum(0).astype(float)
            assert number == pytest.approx(np.abs(values).sum() / abs(values.sum()), rel=1e-3)
    focus = shown.description["answer"]["words"][shown.description["answer"]["focus"]]
    for name, number in focus["condition_numbers"].items():
        doubtful = " (no better than chance)" if number >= DOUBTFUL_FROM.get(name, np.inf) else ""
        assert f"{name} {number:.1f}{doubtful}" in str(shown)


def test_the_streams_lengths_are_written_and_said():
    shown, trace = made(PAIRS[0]), found(PAIRS[0]).trace
    lengths = trace.resid.norm(dim=-1).numpy()
    assert np.allclose(shown.arrays["stream_lengths"], lengths / lengths[:, -1:], atol=1e-6)
    answer = shown.description["answer"]
    of_word = shown.arrays["stream_lengths"][slice(*answer["words"][answer["focus"]]["tokens"])].mean(0)
    assert "of the final one: " + " ".join(f"{length:.2f}" for length in of_word) in str(shown)


@pytest.mark.parametrize("missing", ["condition_numbers", "stream_lengths"])
def test_an_older_explanation_is_still_said(missing):
    shown = made(PAIRS[0])
    shown.arrays.pop(missing, None)
    for word in shown.description["answer"]["words"]:
        word.pop(missing, None)
    bundle.check(shown.description, shown.arrays)
    assert answer_text(found(PAIRS[0]).trace) in str(shown)


def test_alternatives_are_the_parts_of_other_tokens_logits():
    """Their sum is the other token's centred logit, and the difference of the two is that of the logits."""
    findings, arrays = found(PAIRS[0]), made(PAIRS[0]).arrays
    description = made(PAIRS[0]).description
    logits = findings.trace.logits
    for row, token in enumerate(description["answer"]["tokens"]):
        others = [top["id"] for top in token["top"] if top["id"] != token["id"]][:3]
        expected = [float(logits[row, other] - logits[row].mean()) for other in others]
        assert np.allclose(arrays["alternatives_sources"][row].sum(1), expected, atol=1e-5)
        image = arrays["alternatives_sources"][row][:, DIRECT.index("image")]
        assert np.allclose(arrays["alternatives_patches"][row].sum(1), image, atol=1e-5)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_words_and_tokens_spell_the_answer_and_the_prompt(pair):
    description = made(pair).description
    answer, prompt = description["answer"], description["prompt"]
    trace = found(pair).trace
    assert answer["text"] == ANSWER
    spelled = "".join(token["text"] for token in answer["tokens"][: answer["words"][-1]["tokens"][1]])
    assert spelled.strip() == ANSWER
    assert [word["text"] for word in answer["words"]] == ["a", "small", "blue", "triangle", ",", "red"]
    first, end = prompt["image_span"]
    assert set(trace.ids[first:end].tolist()) == {trace.llava.processor.image_token_id}
    assert prompt["ids"] + [token["id"] for token in answer["tokens"]] == trace.ids.tolist()
    read = {token["position"]: token["id"] for token in prompt["tokens"]}
    assert read == {at: index for at, index in enumerate(prompt["ids"]) if not first <= at < end}
    assert prompt["text"].count("<image>") == 1 and "What color is the circle?" in prompt["text"]


def test_every_patch_of_the_view_lies_where_the_framing_has_it():
    description = made(PAIRS[0]).description
    a, b, c, d, e, f = description["image"]["view"]["to_image"]
    framing = found(PAIRS[0]).trace.llava.pixels.framing(NOISE.size)
    for row, column in [(0, 0), (1, 2), (2, 1)]:
        box = (a * 8 * column + e, d * 8 * row + f, a * 8 * (column + 1) + e, d * 8 * (row + 1) + f)
        assert box == pytest.approx(framing.box(row, column))
    assert (b, c) == (0, 0) and description["image"]["view"]["lost"] == "padded"


def test_a_receipt_can_be_repeated_from_what_it_holds():
    """The patches it names and its seed give the same changes again."""
    findings = found(PAIRS[0])
    written = made(PAIRS[0]).description["receipts"][0]
    assert written["command"][: len(COMMAND)] == COMMAND and "--seed" in written["command"]
    again = explain(
        findings.trace, NOISE, Target(), findings.words[findings.focus][0], 3, np.array(written["done"]["patches"]), 5
    )
    assert again.receipts[0].target.claimed == pytest.approx(written["measured"]["change"], abs=1e-6)
    assert again.receipts[0].target.scattered == pytest.approx(written["controls"]["changes"], abs=1e-6)
    assert again.receipts[0].target.shuffled == pytest.approx(written["shuffled"]["change"], abs=1e-6)


def test_the_leading_map_is_tested_in_every_way_and_the_other_in_the_cheap_one():
    kinds = [(receipt.map, receipt.kind) for receipt in found(PAIRS[0]).receipts]
    assert kinds == [("all paths", "read-knockout"), ("all paths", "blur"), ("direct", "read-knockout")]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("kind", REMOVALS)
def test_stopping_changes_no_verdict_of_a_model(pair, kind):
    findings = found(pair)
    shown = TracedPicture(
        findings.trace, findings.trace.llava.pixels.view(NOISE), findings.trace.llava.pixels([NOISE]), Target()
    )
    patches = findings.trace.layout.patches(0).ravel()
    for seed, word in enumerate(findings.words):
        claim = Claim("direct", findings.decomposition.direct.positions[slice(*word)][:, patches].sum(0), slice(*word))
        removed = np.flatnonzero(np.random.default_rng(seed).permutation(patches.size) < 3)
        stopped, whole = (shown.receipt(claim, kind, removed, 12, seed, every) for every in (False, True))
        run = len(stopped.target.controls)
        assert (stopped.verdict, stopped.shuffled_verdict) == (whole.verdict, whole.shuffled_verdict)
        assert whole.verdict != "not-tested" and run <= len(whole.target.controls) == whole.control_count
        assert run == whole.control_count or stopped.verdict == "not-confirmed"


def test_the_focus_is_the_word_that_a_blurred_picture_costs_most_or_the_one_that_differs():
    findings = found(PAIRS[0])
    llava, trace = findings.trace.llava, findings.trace
    soft = reread(trace, [blurred(llava.pixels.view(NOISE))], Target(), llava.pixels([NOISE]))
    lost = [soft.log_prob_change[0, first:end].sum() for first, end in findings.words]
    assert findings.focus == int(np.argmin(lost))
    assert findings.dependence.blurred - findings.dependence.full == pytest.approx(min(lost), abs=1e-5)
    contrast = found(PAIRS[0], "difference")
    first, end = contrast.words[contrast.focus]
    assert end == first + 1 and "blue".startswith("".join(contrast.pieces[:end]).split()[-1])


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_contrast_is_of_one_token_against_one_token(pair):
    """`blue` and `green` differ in their first token, and what follows it is no part of the difference."""
    contrast, description = found(pair, "difference"), made(pair, "difference").description
    first, end = contrast.words[contrast.focus]
    assert end - first == 1 and "blue".startswith(description["answer"]["words"][contrast.focus]["text"])
    logits, trace = contrast.trace.logits[first], contrast.trace
    difference = float(logits[trace.next_ids[first]] - logits[contrast.target.against])
    assert contrast.decomposition.direct.value[first] == pytest.approx(difference, abs=1e-5)
    assert contrast.receipts[2].map == "direct"
    named = trace.layout.patches(0).ravel()[list(contrast.receipts[2].patches)]
    assert contrast.receipts[2].predicted == pytest.approx(-contrast.decomposition.direct.positions[first][named].sum())
    text = description["method"]["target"]["against_text"]
    assert text and "green".startswith(text)


def test_a_token_that_stands_alone_leaves_the_words_complete():
    assert isolate_query([(0, 1), (1, 4), (4, 5)], 2) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert isolate_query([(0, 3)], 0) == [(0, 1), (1, 3)] and isolate_query([(0, 3)], 2) == [(0, 2), (2, 3)]
    assert isolate_query([(0, 1), (1, 2)], 1) == [(0, 1), (1, 2)]


def test_the_view_ends_where_the_patches_end():
    """An encoder of 26 pixels has 3 x 3 patches of 8: the view is 24 pixels wide, and its map to the picture is 1:1."""
    sizes = {"size": {"shortest_edge": 26}, "crop_size": {"height": 26, "width": 26}}
    llava = load(joined("clip", "llama"))
    shown = Llava(llava.model, llava.processor, llava.card)
    shown.__dict__["pixels"] = Pixels(CLIPImageProcessorPil(**sizes), 26, 8)  # in the place of the cached one
    picture_of_26, trace = picture(3, 26, 26), replace(found(PAIRS[0]).trace, llava=shown)
    view = explanation(replace(found(PAIRS[0]), trace=trace), picture_of_26)
    said = view.description["image"]["view"]
    assert said["size"] == [24, 24] and said["to_image"] == pytest.approx([1, 0, 0, 1, 0, 0])
    stored = np.asarray(Image.open(io.BytesIO(view.pictures["view.png"])))
    assert np.array_equal(stored, np.asarray(picture_of_26)[:24, :24])


def test_nothing_is_left_behind_when_the_folder_is_taken(tmp_path):
    (tmp_path / "why").mkdir()
    (tmp_path / "why" / "mine.txt").write_text("mine")
    with pytest.raises(LapilliError, match="why"):
        made(PAIRS[0]).save(tmp_path / "why")
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["mine.txt"]


def test_a_notebook_shows_the_page_in_a_frame_that_may_do_nothing_else():
    shown = made(PAIRS[0])._repr_html_()
    assert re.search(r'<iframe[^>]* sandbox="allow-scripts"', shown) and "srcdoc=" in shown


def test_what_is_loaded_is_what_was_saved(tmp_path):
    saved = made(PAIRS[0])
    saved.save(tmp_path / "why")
    loaded = Explanation.load(tmp_path / "why")
    assert loaded.description == saved.description and loaded.pictures == saved.pictures and str(loaded) == str(saved)
    assert all(np.array_equal(loaded.arrays[name], values) for name, values in saved.arrays.items())
    with pytest.raises(LapilliError, match=r"explanation\.json: no such file"):
        Explanation.load(tmp_path)


def test_it_prints_itself_as_a_table():
    said = str(made(PAIRS[0]))
    assert ANSWER in said.splitlines()[0] and "direct" in said and "all paths" in said
    assert (
        "all 6 run\n  shuffled map: measured" in said and said.count("not-tested") == 6
    )  # three and their shuffled maps
    assert len(repr(made(PAIRS[0]))) < 50_000  # the arrays are not in it


def test_sequences_that_are_no_answer_about_one_picture_are_refused():
    llava = load(joined("clip", "llama"))
    text = Sample("text", (), (Turn("user", "What color is it?"), Turn("assistant", "red")))
    with pytest.raises(LapilliError, match="0 pictures"):
        explain(traced(llava, encode(text, llava.codec), whole=True), NOISE)


def test_a_large_picture_is_kept_smaller_and_its_numbers_speak_of_the_original(tmp_path):
    llava = load(joined("clip", "llama"))
    large = Image.effect_noise((900, 700), 50).convert("RGB")
    trace = traced(llava, answered(llava, ASKED, "red"), llava.pixels([large]), whole=True)
    shown = explanation(explain(trace, large, controls=0), large, "tiny", COMMAND)
    assert "image.jpg" in shown.pictures and shown.description["image"]["size"] == [900, 700]
    assert {receipt["verdict"] for receipt in shown.description["receipts"]} == {"not-tested"}
    assert answer_text(trace) == "red"
    json.dumps(shown.description, allow_nan=False)


def test_the_program_in_the_documentation_runs(tmp_path, monkeypatch):
    """Of docs/explaining.md, with a tiny model and a picture where it names them."""
    text = (Path(__file__).parents[3] / "docs" / "explaining.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "pictures").mkdir()
    NOISE.save(tmp_path / "pictures" / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(program.replace('"MODEL"', repr(str(joined("clip", "llama")))), names)  # the documentation's own words
    assert names["direct"].missed.max() < 1e-4


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("not-confirmed", "as much by random ones, 6 of 40 run"), ("not-tested", "; random ones, 6 of 40 run")],
)
def test_the_summary_says_why_no_more_controls_were_run(verdict, said):
    """Where nothing is predicted, no random removal has done as much."""
    whole = made(PAIRS[0])
    controls = {"changes": [0.1] * 3, "contiguous": [0.2] * 3, "drawn": 40}
    receipts = [receipt | {"verdict": verdict, "controls": controls} for receipt in whole.description["receipts"]]
    text = summary(whole.description | {"receipts": receipts}, whole.arrays)
    assert said in text and ("as much" in text) == (verdict == "not-confirmed")
