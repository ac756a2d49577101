"""Streams: the states of every sample are those of a pass over it alone, whatever was killed on the way."""

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tests.inspection.runs import llava_of, path_of, sample
from tests.parts import picture

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.layout import Role
from lapilli.core.run import RunDir
from lapilli.data.encode import encode
from lapilli.inspection import streams
from lapilli.inspection.streams import POSITIONS, Streams, collect, shared_rows, stored, stream_sites
from lapilli.model.llava import load

SAMPLES = [
    replace(sample(images=images, turns=turns, words=words), id=f"s{images}{turns}{words}")
    for images, turns, words in ((1, 1, 1), (0, 1, 2), (2, 1, 1), (1, 3, 1), (0, 2, 5), (1, 1, 9), (1, 1, 3))
]
EVERYTHING = Streams(
    sites=("llm.layers.*.resid_p*", "llm.layers.1.*_out", "blocks.0.attn.hook_z", "llm.final_norm"),
    positions=tuple(POSITIONS),
    batch_size=2,
    batches=1,
    seed=3,
)  # fmt: skip


def pictures(name):
    return picture(int(name))


def opened(folder, streams=EVERYTHING):
    return RunDir.begin(folder, {"streams": streams}, streams.seed)


def collected(folder, model="deep", streams=EVERYTHING, samples=SAMPLES):
    run = opened(folder, streams)
    collect(run, model, llava_of(model), samples, pictures, streams=streams)
    return run


def contents(folder):
    return {file.name: file.read_bytes() for file in sorted((folder / "states").rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return collected(folder / "run")


def alone(llava, number):
    """The layout and all hidden states of one sample, as transformers returns them: the last behind the norm."""
    prompt = encode(SAMPLES[number], llava.codec, for_generation=True)
    inputs = {"input_ids": torch.tensor(prompt.ids)[None]}
    if prompt.images:
        inputs["pixel_values"] = llava.pixels([pictures(name) for name in prompt.images])
    with torch.inference_mode():
        return prompt.layout, llava.model(**inputs, output_hidden_states=True).hidden_states


def test_states_are_those_of_a_pass_over_the_sample_alone(whole):
    states = stored(whole, "deep")
    for number in range(len(SAMPLES)):
        layout, hidden = alone(llava_of("deep"), number)
        for position in ("last", "question_end", "image_all", "image_random", "question_random"):
            samples, tokens = states.rows(position)
            mine = samples == number
            for layer in range(5):
                before = states.at(position, f"llm.layers.{layer}.resid_pre")[mine]
                torch.testing.assert_close(before, hidden[layer][0, tokens[mine]], rtol=0, atol=2e-5)
            torch.testing.assert_close(
                states.at(position, "llm.final_norm")[mine], hidden[5][0, tokens[mine]], rtol=0, atol=2e-5
            )
        image = hidden[3][0, layout.positions(Role.IMAGE)]
        means = states.at("image_mean", "llm.layers.2.resid_post")[states.rows("image_mean")[0] == number]
        torch.testing.assert_close(means, image.mean(0)[None][: len(image)], rtol=0, atol=2e-5)
        words = hidden[3][0, layout.positions(Role.QUESTION, turn=int(layout.turn.max()))]
        means = states.at("question_mean", "llm.layers.2.resid_post")[states.rows("question_mean")[0] == number]
        torch.testing.assert_close(means, words.mean(0)[None], rtol=0, atol=2e-5)


def test_tokens_are_of_their_kind(whole):
    states = stored(whole, "deep")
    for number in range(len(SAMPLES)):
        layout, _ = alone(llava_of("deep"), number)
        token = {name: states.rows(name)[1][states.rows(name)[0] == number].tolist() for name in POSITIONS}
        images = layout.positions(Role.IMAGE).tolist()
        assert token["last"] == [layout.length - 1]
        assert token["question_end"] == layout.positions(Role.QUESTION)[-1:].tolist()
        assert token["image_all"] == images and token["image_mean"] == [-1] * bool(images)
        assert len(token["image_random"]) == bool(images) and {*token["image_random"]} <= {*images}
        assert layout.role[token["question_random"]] == Role.QUESTION


def test_random_tokens_are_drawn_by_the_seed_each_on_its_own():
    """Over seeds every token comes up, the same for the same seed, and the two kinds do not follow each other."""
    prompts = [(0, encode(SAMPLES[5], llava_of("deep").codec, for_generation=True))]
    layout, drawn = prompts[0][1].layout, {}
    for name, role in (("image_random", Role.IMAGE), ("question_random", Role.QUESTION)):
        drawn[name] = [int(streams._tokens(prompts, name, seed).token[0]) for seed in range(200)]
        assert drawn[name] == [int(streams._tokens(prompts, name, seed).token[0]) for seed in range(200)]
        assert {*drawn[name]} == {*layout.positions(role).tolist()}
    assert abs(np.corrcoef(drawn["image_random"], drawn["question_random"])[0, 1]) < 0.25
    other = [int(streams._tokens([(1, prompts[0][1])], "image_random", seed).token[0]) for seed in range(200)]
    assert other != drawn["image_random"]


def test_the_last_layer_is_kept_before_and_behind_the_last_norm(whole):
    states, norm = stored(whole, "deep"), llava_of("deep").model.model.language_model.norm
    before, behind = states.at("last", "llm.layers.4.resid_post"), states.at("last", "llm.final_norm")
    torch.testing.assert_close(norm(before), behind)
    assert not torch.allclose(before, behind, atol=0.1)


def test_sites_are_named_over_depth_and_positions_as_they_were_asked_for(whole):
    names, sites = stored(whole, "deep").names, stream_sites(llava_of("deep"), EVERYTHING)
    assert list(names) == [(position, site) for position in EVERYTHING.positions for site in sites]
    assert len(names) > 1 and list(names) != sorted(names)


def test_heads_stay_apart(whole):
    states, llava = stored(whole, "deep"), llava_of("deep")
    heads = states.at("last", "llm.layers.0.attn_heads")
    assert heads.shape == (len(SAMPLES), 4, 12)
    assert ("last", "llm.layers.1.attn_out") in states.names
    out = llava.model.model.language_model.layers[0].self_attn.o_proj(heads.flatten(1))
    added = states.at("last", "llm.layers.0.resid_post") - states.at("last", "llm.layers.0.resid_pre")
    assert not torch.allclose(out, added, atol=1e-3)  # the MLP's part is missing
    torch.testing.assert_close(out, alone_attention(llava, 0), rtol=0, atol=2e-5)


def alone_attention(llava, layer):
    outputs = []
    hook = llava.model.model.language_model.layers[layer].self_attn.register_forward_hook(
        lambda module, arguments, output: outputs.append(output[0][0, -1])
    )
    for number in range(len(SAMPLES)):
        alone(llava, number)
    hook.remove()
    return torch.stack(outputs)


def test_a_file_is_as_large_as_what_it_holds(whole):
    rows = sum(len(stored(whole, "deep").rows(position)[0]) for position in POSITIONS)
    states = rows * (5 + 5 + 2 + 1 + 1) * 48 * 4
    size = sum(map(len, contents(whole.path).values()))
    assert states < size < states + rows * 16 + 4 * 12_000  # and the headers of four files


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.inspection import test_streams
synced, left = os.fsync, [int(sys.argv[2])]
def fsync(opened):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    synced(opened)
run = test_streams.opened(Path(sys.argv[1]))
test_streams.llava_of("deep")
os.fsync = fsync
test_streams.collected(Path(sys.argv[1]))
"""


def test_a_killed_run_goes_on_and_has_the_same_bytes(whole, tmp_path):
    """Killed while it writes the second file, of which half is there."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run"), "3"]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    left = contents(tmp_path / "run")
    assert [name for name in left if not name.startswith(".")] == ["00000.safetensors"] and len(left) == 2
    before = (tmp_path / "run/states/deep/00000.safetensors").stat().st_mtime_ns
    with RunDir.alone(tmp_path / "run"):  # which sweeps what the killed process left
        collected(tmp_path / "run")
    assert (tmp_path / "run/states/deep/00000.safetensors").stat().st_mtime_ns == before
    assert contents(tmp_path / "run") == contents(whole.path)


def test_files_that_processes_share_out_are_the_same(whole, tmp_path):
    run = opened(tmp_path / "run")
    for process, made in ((2, [2]), (0, [0, 2, 3]), (1, [0, 1, 2, 3])):
        collect(run, "deep", llava_of("deep"), SAMPLES, pictures, streams=EVERYTHING, process=(process, 3))
        assert [*contents(run.path)] == [f"{number:05}.safetensors" for number in made]
        if process:
            continue
        with pytest.raises(LapilliError, match="files of states are missing"):
            stored(run, "deep")
    assert contents(run.path) == contents(whole.path)


@cache
def moved():
    """The model with one number of one weight moved, in the last layer."""
    llava = load(path_of("deep"))
    with torch.no_grad():
        llava.model.model.language_model.layers[-1].mlp.down_proj.weight[0, 0] += 1e-3
    return llava


def reworded(changed):
    *before, last = changed.turns
    return replace(changed, turns=(*before, replace(last, text=last.text + " again")))


OTHERS = {
    "model": {"llava": moved},
    "samples": {"samples": [replace(SAMPLES[0], id="another"), *SAMPLES[1:]]},
    "texts": {"samples": [reworded(SAMPLES[0]), *SAMPLES[1:]]},
    "fewer": {"samples": SAMPLES[:3]},
    "pictures": {"pictures": lambda name: picture(int(name) + 50)},
    "streams": {"streams": replace(EVERYTHING, seed=4)},
    "sites": {"streams": replace(EVERYTHING, sites=EVERYTHING.sites[:1])},
}


@pytest.mark.parametrize("case", OTHERS)
def test_states_of_something_else_never_join_a_collection(case, whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    (tmp_path / "run/states/deep/00001.safetensors").unlink()
    before = contents(tmp_path / "run")
    changed = {"llava": lambda: llava_of("deep"), "samples": SAMPLES, "pictures": pictures, "streams": EVERYTHING}
    changed |= OTHERS[case]
    with pytest.raises(LapilliError, match=r"00000\.safetensors: states of other \w+.* are there"):
        collect(
            RunDir.open(tmp_path / "run"), "deep", changed["llava"](), changed["samples"], changed["pictures"],
            streams=changed["streams"],
        )  # fmt: skip
    assert contents(tmp_path / "run") == before


def test_a_collection_that_was_killed_or_mixed_is_not_read(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    run, folder = RunDir.open(tmp_path / "run"), tmp_path / "run/states/deep"
    kept = (folder / "00003.safetensors").read_bytes()
    (folder / "00003.safetensors").unlink()  # the last: the others are numbered without a gap
    with pytest.raises(LapilliError, match="3 of 4 files of states"):
        stored(run, "deep")
    (folder / "00003.safetensors").write_bytes(kept)
    other = opened(tmp_path / "other")
    collect(other, "deep", moved(), SAMPLES, pictures, streams=EVERYTHING)
    shutil.copy(tmp_path / "other/states/deep/00002.safetensors", folder)
    with pytest.raises(LapilliError, match=r"00002\.safetensors: of another model"):
        stored(run, "deep")


def test_nothing_is_changed_in_the_model(tmp_path):
    model = llava_of("deep").model

    def hooks():
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())

    before, (_, hidden) = hooks(), alone(llava_of("deep"), 0)
    collected(tmp_path / "run", samples=SAMPLES[:1])
    assert hooks() == before
    assert torch.equal(alone(llava_of("deep"), 0)[1][-1], hidden[-1])


def test_the_run_is_sealed_with_its_states(tmp_path):
    run = collected(tmp_path / "run", samples=SAMPLES[:2])
    run.finish()
    run.verify()
    file = tmp_path / "run/states/deep/00000.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(LapilliError, match=r"states/deep/00000\.safetensors"):
        run.verify()


def test_two_models_in_one_run_are_paired_by_sample(tmp_path):
    streams = replace(EVERYTHING, sites=("llm.layers.0.resid_pre",), positions=("image_mean", "last", "image_all"))
    run = collected(tmp_path / "run", "deep", streams)
    collect(run, "llama", llava_of("llama"), SAMPLES[2:], pictures, streams=streams)
    first, second = stored(run, "deep"), stored(run, "llama")
    rows = shared_rows(first, second, "last")
    assert np.array_equal(rows[0], np.arange(5)) and np.array_equal(rows[1], np.arange(5))
    with pytest.raises(LapilliError, match="a sample has more tokens in one of the two"):
        shared_rows(first, second, "image_all")


BAD = {
    "a position": (replace(EVERYTHING, positions=("first",)), "position 'first': unknown; there are last, "),
    "a site": (replace(EVERYTHING, sites=("llm.layers.9.resid_pre",)), "unknown; the nearest is"),
    "the logits": (replace(EVERYTHING, sites=("logits",)), "site 'logits': no state of the language model"),
    "pictures": (replace(EVERYTHING, sites=("projector",)), "site 'projector': no state of the language model"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_stream_is_refused_before_anything_is_run(case, tmp_path):
    streams, message = BAD[case]
    run = opened(tmp_path / "run")
    with pytest.raises(UsageError, match=message):
        collect(run, "deep", llava_of("deep"), SAMPLES, pictures, streams=streams)
    assert not (tmp_path / "run/states").exists()


def test_a_prompt_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(LapilliError, match=r"sample 'long': .* tokens, and the language model reads 256"):
        collected(tmp_path / "run", samples=[replace(sample(words=300), id="long")])


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a\\b"])
def test_a_name_that_is_a_path_is_refused(name, tmp_path):
    with pytest.raises(UsageError, match="name"):
        collect(opened(tmp_path / "run"), name, llava_of("deep"), SAMPLES, pictures, streams=EVERYTHING)


def test_states_that_are_not_there_are_said(whole, tmp_path):
    with pytest.raises(LapilliError, match=r"no states of last:llm\.layers\.0\.mlp_out; the run has"):
        stored(whole, "deep").at("last", "llm.layers.0.mlp_out")
    for damage in ("missing", "cut", "none"):
        run = collected(tmp_path / damage, samples=SAMPLES[:5])
        first = run.path / "states/deep/00000.safetensors"
        if damage == "cut":
            first.write_bytes(first.read_bytes()[:-40])
        else:
            first.unlink()
        for file in first.parent.glob("*") if damage == "none" else ():
            file.unlink()
        with pytest.raises(LapilliError, match="states"):
            stored(run, "deep").at("last", "llm.final_norm")


def test_half_precision_is_kept_as_it_is(tmp_path):
    llava = llava_of("deep", dtype=torch.bfloat16)
    streams = replace(EVERYTHING, sites=("llm.layers.*.resid_post",))
    run = opened(tmp_path / "run", streams)
    collect(run, "half", llava, SAMPLES, pictures, streams=streams)
    assert stored(run, "half").at("image_mean", "llm.layers.1.resid_post").dtype == torch.bfloat16
