"""The functions of explain.js, called in a browser as any host would."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.report.explanation.fake_bundle import SMALL, write_bundle

from lapilli.inspection.attribution.sources import condition_number
from lapilli.inspection.intervention.receipt import top
from lapilli.report.explanation import page as page_module

SOURCE = (Path(page_module.__file__).parent / "explain.js").read_text(encoding="utf-8")
NAMES = re.findall(r"^export (?:const|function) (\w+)", SOURCE, re.MULTILINE)


@pytest.fixture(scope="module")
def page(browser):
    opened = browser.new_page()
    opened.add_script_tag(type="module", content=f"{SOURCE}\nwindow.lib = {{ render, {', '.join(NAMES)} }};")
    opened.wait_for_function("window.lib")
    yield opened
    opened.close()


@pytest.fixture
def call(page):
    return lambda script, argument=None: page.evaluate(f"argument => {{ const lib = window.lib; {script} }}", argument)


def test_every_tensor_is_read_as_it_was_written(call, tmp_path):
    path = write_bundle(tmp_path, SMALL) / "arrays.safetensors"
    told = call(
        """const bytes = Uint8Array.from(atob(argument), sign => sign.charCodeAt(0));
        const shifted = new Uint8Array(bytes.length + 3); shifted.set(bytes, 3);
        const read = lib.readTensors(bytes.buffer), other = lib.readTensors(new DataView(shifted.buffer, 3));
        return Object.entries(read).map(([name, { shape, numbers }]) =>
            [name, shape, [...numbers], [...other[name].numbers]]);""",
        base64.b64encode(path.read_bytes()).decode(),
    )
    stored = load_file(path)
    assert {name for name, *_ in told} == set(stored)
    for name, shape, numbers, shifted in told:
        assert shape == list(stored[name].shape)
        assert np.array_equal(np.array(numbers), stored[name].ravel().astype(float)) and numbers == shifted


def test_half_precision(call):
    bits = [0x0000, 0x3C00, 0xC000, 0x7BFF, 0x0001, 0x03FF, 0x3555, 0xFC00]
    wanted = np.array(bits, np.uint16).view(np.float16).astype(float)
    read = call("return [...lib.halves(Uint16Array.from(argument))].map(String)", bits)
    assert [float(value.replace("Infinity", "inf")) for value in read] == list(wanted)


def test_opacity_is_proportional_and_ends(call):
    values = [0, 0.039, 0.05, 0.5, 1, 3, -0.5]
    assert call("return argument.map(value => lib.opacity(value, 1))", values) == pytest.approx(
        [0, 0, 0.0175, 0.175, 0.35, 0.35, 0.175]
    )
    assert call("return lib.opacity(1, 0)") == 0


@pytest.mark.parametrize("patches", [1, 4, 12, 36, 49, 60, 576])
def test_outlined_are_the_patches_that_a_receipt_removes(call, patches):
    rng = np.random.default_rng(patches)
    for shift in (-1, -0.1, 0.1, 1):
        values = rng.normal(shift, 1, patches)
        chosen = call("return lib.strongest(Float64Array.from(argument))", values.tolist())
        assert sorted(chosen) == sorted(top(values).tolist())


def receipt(kind="blur", after="blue", **more):
    return {
        "map": "direct", "done": {"kind": kind, "patches": [1, 2]}, "predicted": -3.0, "verdict": "confirmed",
        "measured": {"change": -2.0, "answer_before": "red", "answer_after": after},
        "controls": {"changes": [0.1] * 20, "contiguous": [0.2] * 20, "answers_changed": 0},
    } | more  # fmt: skip


CONTROLS = {"changes": [0.1] * 20, "contiguous": [0.2] * 20}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (receipt(), None),
        (receipt(controls=CONTROLS), None),  # of a folder that an older version wrote
        (receipt(controls=CONTROLS | {"answers_changed": 2}), None),
        (receipt(controls=CONTROLS | {"answers_changed": 3}), "random others change the word too, 3 of 40 times"),
        (receipt(after="red"), "it still says “red”"),
        (receipt(verdict="confirmed-but-smaller"), None),  # the effect is real; that its size is not is said beside it
        (receipt(verdict="confirmed-but-larger"), None),
        (receipt(verdict="not-confirmed"), "it says “blue”, but its test came out not confirmed"),
        (receipt(verdict="opposite", after="red"), "it still says “red”"),
        (receipt(predicted=1.5), "they speak against the word"),
        (receipt(controls={"changes": []}), "not tested"),
        (receipt(verdict="not-tested"), "not tested"),
        (
            receipt(measured={"change": -2.0, "answer_before": "green", "answer_after": "blue"}),
            "own word there is “green”",
        ),
    ],
)
def test_patches_decide_a_word_only_where_a_receipt_shows_it(call, given, why):
    said = call("return lib.failureOf(argument, 'red')", given)
    assert said is None if why is None else why in said


@pytest.mark.parametrize(
    ("turned", "words"),
    [(0, "never changed the word"), (1, "changed the word 1 time and"), (2, "the word 2 times and")],
)
def test_what_random_removals_did_is_counted_in_words(call, turned, words):
    given = receipt(controls=CONTROLS | {"answers_changed": turned})
    assert words in call("return lib.controlOf([argument])", given)


def test_whether_the_removal_lowers_or_raises_the_word_is_said(call):
    measured = {"change": 2.0, "answer_before": "red", "answer_after": "red"}
    assert "these raise it by 2.00" in call("return lib.controlOf([argument])", receipt(measured=measured))


def test_each_way_of_removing_has_its_own_control(call):
    stopped = {"changes": [0.1] * 3, "contiguous": [-2.5] * 3, "answers_changed": 1, "drawn": 40}
    given = [receipt(controls=CONTROLS | {"answers_changed": 2}), receipt("read-knockout", controls=stopped)]
    assert call("return lib.controlOf(argument)", given) == (
        " Control, blurred in the picture: 2 patches at random, 40 times, changed the word 2 times and moved it by "
        "0.20 logits at most, up or down; these lower it by 2.00."
        " Control, hidden from the text: 2 patches at random, 6 of 40 times, where it was settled, changed the word "
        "1 time and moved it by 2.50 logits at most, up or down; these lower it by 2.00."
    )
    assert call("return lib.controlOf(argument)", [receipt(controls={"changes": []})]) == ""


@pytest.mark.parametrize(
    ("verdict", "change", "words"),
    [("larger", -16.9, "16.90, more than twice the 3.00"), ("smaller", -1.2, "1.20, less than half of the 3.00")],
)
def test_a_size_that_was_not_predicted_is_said(call, verdict, change, words):
    measured = {"change": change, "answer_before": "red", "answer_after": "blue"}
    said = call("return lib.controlOf([argument])", receipt(verdict=f"confirmed-but-{verdict}", measured=measured))
    assert f"these lower it by {words} that the map predicts." in said


@pytest.mark.parametrize(
    ("shuffled", "said"),
    [
        (
            {"verdict": "not-confirmed"},
            "Shuffled map: −0.20, not confirmed (by chance confirmed ≤ 1 in 21, opposite as often).",
        ),
        ({"verdict": "opposite"}, "Shuffled map: −0.20, opposite (by chance confirmed ≤ 1 in 21, opposite as often)."),
        ({"verdict": "not-tested", "kind": "Random patches"}, "Random patches: −0.20, not tested."),
    ],
)
def test_the_shuffled_map_stands_beside_the_map(call, shuffled, said):
    given = {"kind": "Shuffled map", "patches": [0], "change": -0.2, "chance": 1 / 21} | shuffled
    assert call("return lib.shuffledOf({ shuffled: argument })", given) == said
    assert call("return lib.shuffledOf({})") == ""


@pytest.mark.parametrize(
    ("values", "chosen", "said"),
    [
        (range(36), [32, 33, 34, 35], "the strongest eighth of the patches, 4 of 36"),
        (range(36), [1, 2, 3, 4], "4 of 36 patches, named by hand"),
        (range(36), [35], "1 of 36 patches, named by hand"),
        ([40.0, *[-1.0] * 35], [0], "the only patches on its side, 1 of 36"),
        ([1.0], [0], "the strongest eighth of the patches, 1 of 1"),
    ],
)
def test_how_many_patches_are_named_is_said_to_be_a_rule(call, values, chosen, said):
    given = [list(map(float, values)), chosen]
    assert call("return lib.namedOf(argument[1], Float64Array.from(argument[0]))", given) == said


def test_the_map_that_is_shown_by_most_ways_is_the_reason(call):
    found = [
        receipt(),
        receipt("read-knockout", after="red"),
        receipt(map="all paths"),
        receipt("blur", map="all paths"),
    ]
    script = "const set = lib.reasonOf(argument, 'red'); return [set.map, set.own.length, set.sure.length]"
    assert call(script, found) == ["all paths", 2, 2]
    assert call(script, found[:2]) == ["direct", 2, 1]
    assert call(script, found[1:3]) == ["all paths", 1, 1]
    ways = "return lib.reasonOf(argument, 'red').ways"
    assert call(ways, found[1:3]) == [
        "hidden from the text",
        "blurred in the picture",
    ]  # all paths by one of them alone
    assert call(script, found[1:2]) == ["direct", 1, 0]
    assert call("return lib.reasonOf([], 'red') === undefined")


def test_the_border_of_a_block_is_its_outline(call):
    lines = call("return lib.border(new Set([0, 1, 4, 5]), 4, 4)")
    assert len(lines) == 8
    assert call("return lib.border(new Set([5]), 4, 4)") == [[1, 1, 2, 1], [1, 2, 2, 2], [1, 1, 1, 2], [2, 1, 2, 2]]


def test_the_percentile_is_of_sizes(call):
    assert call("return lib.percentile(Float32Array.from({ length: 100 }, (_, at) => -at))") == 99
    assert call("return lib.percentile([], 0.5)") == 0


def test_the_frame_holds_picture_and_view(call):
    cropped = call("return lib.frameOf([570, 380], [336, 336], [380 / 336, 0, 0, 380 / 336, 95, 0])")
    assert cropped == {"left": 0, "top": 0, "width": 570, "height": 380}
    padded = call("return lib.frameOf([570, 380], [336, 336], [570 / 336, 0, 0, 570 / 336, 0, -95])")
    assert padded == pytest.approx({"left": 0, "top": -95, "width": 570, "height": 570})


def test_grid_lines_meet_without_a_gap(call):
    lines = call("return lib.gridLines(24, 336, 380 / 336, 95, 0, 480 / 570)")
    assert lines[0] == 80 and lines[-1] == 400 and len(lines) == 25
    assert set(np.diff(lines).tolist()) <= {13, 14}


def test_parts_are_laid_end_to_end_from_zero(call):
    parts = call("return lib.stack(['MLPs', 'image', 'question'], [2, 3, -1])")
    assert [(part["name"], part["from"], part["to"]) for part in parts] == [
        ("image", 0, 3),
        ("MLPs", 3, 5),
        ("question", 0, -1),
    ]


def test_the_reach_of_values_holds_zero(call):
    assert call("return lib.reachOf([-2, 1])") == [-2, 1]
    assert call("return lib.reachOf([-2, 0.001])") == [-2, 0] and call("return lib.reachOf([])") == [0, 0]


def test_labels_are_pushed_apart(call):
    assert call("return lib.apart([10, 50, 12], 13)") == [10, 50, 23]


@pytest.mark.parametrize(
    ("value", "said"),
    [(3.123, "+3.12"), (-0.0301, "−0.030"), (0, "0"), (123.44, "+123.4"), (-2e-5, "−2e−5"), (0.0996, "+0.10")],
)
def test_numbers_are_written_with_their_sign(call, value, said):
    assert call("return lib.signed(argument)", value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" dog", "·dog"),
        ("a\tb", "a⇥b"),
        ("a\n", "a⏎"),
        ("\x1b[", "‹1b›["),
        ("\u202ex", "‹202e›x"),
        ("", "‹empty›"),
        ("\n", "‹line break›"),
        ("  ", "‹2 spaces›"),
        ("\n\n ", "‹2 line breaks›‹space›"),
        ("\r\n", "‹return›‹line break›"),
    ],
)
def test_tokens_show_what_no_font_prints(call, text, said):
    assert call("return lib.visible(argument)", text) == said


def test_csv_is_quoted_and_disarmed(call):
    assert call("return lib.asCsv([['a', 'b\"c', '=1+1'], [1.5, 'x,y', '-2']])") == 'a,"b""c",\'=1+1\r\n1.5,"x,y",\'-2'


def test_a_verdict_needs_controls(call):
    script = "return lib.verdictOf({ verdict: 'confirmed', controls: { changes: argument } })"
    assert call(script, []) == "not-tested" and call(script, [0.1]) == "confirmed"


def test_the_store_draws_once_and_only_what_changed(call):
    assert call("""const plans = [], drawn = [], store = lib.createStore({ a: 1, b: 2 }, plan => plans.push(plan));
        store.draws(['a'], () => drawn.push('a')); store.draws(['b'], () => drawn.push('b'));
        store.set({ a: 2 }); store.set({ a: 3 }); store.set({ b: 2 }); plans.forEach(plan => plan());
        return [plans.length, drawn]""") == [1, ["a"]]


def test_the_host_answers_as_a_widget_does(call):
    assert call("""const sent = [], heard = [], model = lib.host({ a: 1 },
            (content, _, reply) => { sent.push(content); reply('yes'); });
        const listen = () => heard.push('a');
        model.on('change:a', listen); model.on('msg:custom', reply => heard.push(reply));
        model.set('a', 2); model.set('a', 2); model.off('change:a', listen); model.set('a', 3); model.send('ask');
        return [model.get('a'), sent, heard]""") == [3, ["ask"], ["a", "yes"]]


def test_rendering_can_be_undone(call):
    assert call("""const el = document.createElement('div'), end = lib.render({ model: lib.host({}), el });
        const before = el.childElementCount; end(); return [before, el.childElementCount]""") == [1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_the_condition_number_is_that_of_the_package(call, seed):
    values = np.random.default_rng(seed).normal(0.2, 1, 36)
    assert call("return lib.conditionNumber(Float64Array.from(argument))", values.tolist()) == pytest.approx(
        float(condition_number(values))
    )
