import copy
import json
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
from tests.report.explanation.fake_bundle import SMALL, make_bundle, write_bundle

from lapilli.core.errors import LapilliError
from lapilli.report.explanation import bundle


@pytest.fixture
def small():
    return make_bundle(SMALL)


@pytest.mark.parametrize("plan", [(), (SMALL,)], ids=["full", "small"])
def test_a_sound_bundle_passes_and_reads_back_as_written(tmp_path, plan):
    explanation, arrays = make_bundle(*plan)
    write_bundle(tmp_path, *plan, explanation, arrays) if plan else write_bundle(tmp_path)
    read, held = bundle.read(tmp_path)
    bundle.check(read, held)
    assert read["answer"] == explanation["answer"]
    assert all((held[name] == array).all() for name, array in arrays.items())


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(bundle.schema())


def spoiled(explanation, path, value):
    """A copy with one value set, or with one key removed where the value is ..."""
    changed = copy.deepcopy(explanation)
    here = changed
    for key in path[:-1]:
        here = here[key]
    if value is ...:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("schema",), "lapilli.explanation/3", "schema"),
        (("unknown",), 1, "'unknown'"),
        (("answer", "tokens", 1, "value"), ..., "answer.tokens[1]"),
        (("answer", "tokens", 1, "prob"), 1.5, "answer.tokens[1].prob"),
        (("answer", "words", 1, "tokens"), [1, 9], "answer.words[1].tokens"),
        (("answer", "words", 1, "tokens"), [0, 2], "answer.words[1].tokens"),
        (("answer", "focus"), 2, "answer.focus"),
        (("image", "grid", "sinks"), [36], "image.grid.sinks: patch 36 of 36"),
        (("image", "view", "to_image"), [1, 0.5, 0, 1, 0, 0], "to_image"),
        (("image", "view", "to_image"), [-1, 0, 0, 1, 0, 0], "to_image"),
        (("image", "view", "hidden"), 2, "image.view.hidden"),
        (("dependence", "verdict"), "maybe", "dependence.verdict"),
        (("routes",), ..., "routes"),
        (("method", "sources"), ["image", "text"], "sources has the shape [4, 7], not [4, 2]"),
        (("id",), "../up", "id"),
    ],
)
def test_a_broken_description_is_refused(small, path, value, told):
    with pytest.raises(LapilliError) as refused:
        bundle.check(spoiled(small[0], path, value), small[1], "here")
    assert str(refused.value).startswith("here: ") and told in str(refused.value) and "\n" not in str(refused.value)


def test_keys_of_other_programs_start_with_x(small):
    bundle.check(small[0] | {"x_other": {"anything": 1}}, small[1])


@pytest.mark.parametrize(
    ("name", "at", "told"),
    [
        ("sources", (2, 0), "sources against the token's value: the parts of [2]"),
        ("image_patches", (1, 7), 'image_patches against sources["image"]: the parts of [1]'),
        ("heads", (0, 3, 1), "heads against layers[attention]: the parts of [0, 3]"),
        ("all_paths_sources", (2, 1), "all_paths_sources against the token's value: the parts of [2]"),
    ],
)
def test_a_broken_sum_is_refused(small, name, at, told):
    explanation, arrays = small
    arrays[name][at] += 1.0
    with pytest.raises(LapilliError) as refused:
        bundle.check(explanation, arrays, "here")
    assert told in str(refused.value) and "explain the answer again" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("heads", lambda array: array[:, :4], "heads has the shape [4, 4, 4], not [4, 5, 4]"),
        ("lens_probs", lambda array: array[:, :, :2], "lens_probs has the shape [6, 36, 2], not [6, 36, 5]"),
        ("layers", lambda array: array.astype(np.float64), "layers holds float64, not float32"),
        ("sources", lambda array: np.full_like(array, np.nan), "sources[0] holds NaN"),
        ("image_patches", None, "image_patches is missing"),
        ("lens_ids", None, "lens_ids and lens_probs belong together"),
        ("routes_whole", lambda array: array[..., None], "routes_whole has the shape [4, 5, 1]"),
    ],
)
def test_a_broken_array_is_refused(small, name, spoil, told):
    explanation, arrays = small
    arrays = {key: array for key, array in arrays.items() if key != name} | (
        {name: spoil(arrays[name])} if spoil else {}
    )
    with pytest.raises(LapilliError) as refused:
        bundle.check(explanation, arrays)
    assert told in str(refused.value)


@pytest.mark.parametrize("schema", ["lapilli.explanation/1", "lapilli.explanation/3", 2])
def test_an_explanation_of_another_version_is_refused_in_one_line(small, schema):
    explanation, arrays = small
    with pytest.raises(LapilliError, match=f"schema: '?{schema}'?, whose verdicts are others .*; explain"):
        bundle.check(explanation | {"schema": schema}, arrays)


def test_what_is_optional_may_be_absent(small):
    explanation, arrays = small
    needed = {name: arrays[name] for name in ("sources", "image_patches", "layers", "heads")}
    explanation["method"].pop("all_paths_sources")
    for key in ("routes", "dependence", "receipts"):
        explanation.pop(key)
    bundle.check(explanation, needed)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("explanation.json", None, "no such file"),
        ("explanation.json", b"{", "not JSON"),
        ("explanation.json", b"[1]", "not an object"),
        ("explanation.json", b'{"value": NaN}', "NaN is no JSON number"),
        ("arrays.safetensors", None, "no such file"),
        ("arrays.safetensors", b"\xff" * 20, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, file, content, told):
    write_bundle(tmp_path, SMALL)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(LapilliError, match=told) as refused:
        bundle.read(tmp_path)
    assert file in str(refused.value)


def test_the_contract_names_no_array_that_the_check_does_not_know(small):
    assert set(small[1]) == set(bundle._SHAPES)
    assert json.dumps(small[0], allow_nan=False)


def test_the_room_starts_without_torch():
    program = "import sys, lapilli.report.explanation.page; print(*{'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == []


@pytest.mark.parametrize(("off", "sound"), [(0.02, True), (0.2, False)])
def test_sums_may_miss_by_what_the_checks_allow_half_precision(small, off, sound):
    explanation, arrays = small
    value = explanation["answer"]["tokens"][0]["value"]
    explanation["answer"]["tokens"][0]["value"] = value + off * max(abs(value), 1)
    if sound:
        with pytest.raises(LapilliError, match="against the token's value"):  # in single precision it is too much
            bundle.check(explanation, arrays)
    for check in explanation["checks"]:
        check["tolerance"] = 0.1
    if sound:
        bundle.check(explanation, arrays)
    else:
        with pytest.raises(LapilliError, match="against the token's value"):
            bundle.check(explanation, arrays)
