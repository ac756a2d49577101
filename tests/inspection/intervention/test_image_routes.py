"""Routes and read knock-out: every number is the change that a full run under that mask shows."""

import numpy as np
import pytest
import torch
from tests.inspection.runs import MODELS, full_logits, generated, llava_of, read, sample

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role, TokenLayout
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.intervention.image_routes import ROUTES, layer_windows, parts, routes
from lapilli.inspection.intervention.patch_knockout import read_knockout
from lapilli.inspection.intervention.replay import Cut
from lapilli.inspection.target import Target

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def _layout(roles, turns):
    """A layout from letters: t template, s system, q question, i image of one patch, a answer, e stop."""
    letters = {"t": 0, "s": 1, "q": 2, "i": 3, "a": 4, "e": 5}
    role = np.array([letters[one] for one in roles])
    image = np.where(role == Role.IMAGE, np.cumsum(role == Role.IMAGE) - 1, -1)
    flat = np.where(role == Role.IMAGE, 0, -1)
    turn = [-1 if one == "-" else int(one) for one in turns]
    return TokenLayout(role=role, turn=np.array(turn), image=image, row=flat, column=flat)


@pytest.mark.parametrize(
    ("roles", "turns", "meant"),
    [
        ("tstiqqtt", "---00000", "tttiqqtl"),  # a prompt: its last position is the last
        ("tstiqqttaa", "---0000000", "tttiqqtlll"),
        ("tstiqqttaae", "---00000000", "tttiqqtlllt"),
        ("tiqtaetqtae", "-0000011111", "tiqtqttqllt"),  # an earlier answer is context
        ("tiqtaetqt", "-00000111", "tiqtqttql"),
    ],
)
def test_the_parts_of_a_layout(roles, turns, meant):
    found = parts(_layout(roles, turns))
    named = {"i": found.image, "q": found.question, "t": found.template, "l": found.last}
    written = np.full(len(roles), "")
    for letter, positions in named.items():
        assert (written[positions] == "").all()
        written[positions] = letter
    assert "".join(written) == meant


def _naive(role, turn):
    """Parts by a loop, of a real layout, written out from the definition."""
    named = []
    final = max(turn)
    for at, one in enumerate(role):
        following = (role[at + 1], turn[at + 1]) if at + 1 < len(role) else (Role.ANSWER, final)
        if following[0] in (Role.ANSWER, Role.STOP) and following[1] == final and one != Role.STOP:
            named.append("last")
        elif one == Role.IMAGE:
            named.append("image")
        else:
            named.append("question" if one in (Role.QUESTION, Role.ANSWER) else "template")
    return np.array(named)


def _change(run, oracle, cuts, target):
    logits, ids = full_logits(oracle, run, cuts)[run.trace.queries], torch.from_numpy(run.trace.next_ids)
    clean = full_logits(oracle, run, [])[run.trace.queries]
    log_prob = logits.log_softmax(-1) - clean.log_softmax(-1)
    return log_prob.gather(1, ids[:, None])[:, 0], target.of_logits(logits, ids) - target.of_logits(clean, ids)


@pytest.mark.parametrize(
    ("name", "asked"),
    [(name, sample(words=40 if name == "mistral" else 1)) for name in MODELS]
    + [("deep", sample(images=2)), ("llama", sample(images=1, turns=3))],
)
def test_every_route_is_a_full_run_with_it_cut(name, asked):
    llava, oracle = llava_of(name), llava_of(name, "eager")
    run = read(llava, asked)
    target = Target("token")
    found, depth = routes(run.trace, target), run.trace.decoder.depth
    named = _naive(run.trace.layout.role.tolist(), run.trace.layout.turn.tolist())
    behind = np.arange(len(named)) > run.trace.layout.positions(Role.IMAGE)[0]
    for number, route in enumerate(ROUTES):
        seen, reader = route.split("->")
        queries, keys = np.nonzero((named == reader) & behind)[0], np.nonzero(named == seen)[0]
        for at, layers in enumerate([*found.windows, range(depth)]):
            meant = _change(run, oracle, [Cut(queries, keys, layers)], target)
            whole = at == depth
            ours = found.whole_log_prob_change if whole else found.log_prob_change[:, :, at]
            torch.testing.assert_close(torch.from_numpy(ours[:, number].copy()), meant[0], **CLOSE)
            ours = found.whole_target_change if whole else found.target_change[:, :, at]
            torch.testing.assert_close(torch.from_numpy(ours[:, number].copy()), meant[1], **CLOSE)
    text = np.nonzero((named != "image") & behind)[0]
    _, meant = _change(run, oracle, [Cut(text, np.nonzero(named == "image")[0], range(depth))], target)
    torch.testing.assert_close(torch.from_numpy(found.whole_target_change[:, -1].copy()), meant, **CLOSE)


def test_a_window_lies_around_every_layer():
    """Of 32 layers, the nine of Geva et al.; of five, one; clipped at the ends."""
    of_32 = layer_windows(32)
    assert [of_32[layer] for layer in (0, 2, 10, 31)] == [range(5), range(7), range(6, 15), range(27, 32)]
    for depth in (1, 2, 5, 24, 28, 32, 40):
        windows = layer_windows(depth)
        assert [layer in window for layer, window in enumerate(windows)] == [True] * depth
        assert max(map(len, windows)) == max(1, round(9 * depth / 32))
    assert routes(read(llava_of("deep"), sample()).trace).windows == tuple(range(at, at + 1) for at in range(5))


def test_shares_say_what_part_of_the_whole_each_way_carries():
    run = generated(llava_of("deep"), sample(), tokens=4)
    found = routes(run.trace)
    whole = found.whole_target_change
    for query in range(4):
        ways = [whole[query, way] / whole[query, 4] for way in range(3)]
        assert found.shares[query] == pytest.approx([*ways, 1 - sum(ways)], rel=1e-4)


def test_in_the_last_layer_an_answer_reads_by_itself_alone():
    """What others read there, nobody can pass on: the routes into the question and the template change nothing."""
    run = generated(llava_of("deep"), sample(), tokens=3)
    found = routes(run.trace)
    assert np.abs(found.target_change[:, :2, -1]).max() < 1e-5 < np.abs(found.target_change[:, 2:, -1]).min()


def test_without_an_image_there_are_no_routes():
    asked = Sample("s", (), (Turn("user", "Is the circle red?"),))
    run = generated(llava_of("llama"), asked)
    with pytest.raises(LapilliError, match="shows no image"):
        routes(run.trace)
    assert read_knockout(run.trace, np.zeros((2, 0), bool)).target_change.tolist() == [[0.0] * 6] * 2


@pytest.mark.parametrize(("name", "images"), [("deep", 1), ("deep", 2), ("llama", 1), ("mistral", 1), ("qwen2", 2)])
def test_read_knockout_is_a_full_run_with_the_columns_masked(name, images):
    llava, oracle = llava_of(name), llava_of(name, "eager")
    run = read(llava, sample(images=images, words=40 if name == "mistral" else 1))
    layout, depth = run.trace.layout, run.trace.decoder.depth
    image = layout.positions(Role.IMAGE)
    sets = np.random.default_rng(1).random((5, image.size)) < 0.4
    sets[3:] = [[False], [True]]
    found = read_knockout(run.trace, sets)
    (text,) = np.nonzero((layout.role != Role.IMAGE) & (np.arange(layout.length) > image[0]))
    for number, chosen in enumerate(sets):
        log_prob, target = _change(run, oracle, [Cut(text, image[chosen], range(depth))], Target())
        torch.testing.assert_close(torch.from_numpy(found.log_prob_change[number]), log_prob, **CLOSE)
        torch.testing.assert_close(torch.from_numpy(found.target_change[number]), target, **CLOSE)
    as_positions = read_knockout(run.trace, [image[chosen] for chosen in sets])
    assert np.array_equal(as_positions.target_change, found.target_change)
    assert np.allclose(found.target_change[4], routes(run.trace).whole_target_change[:, -1], **CLOSE)


def test_sets_that_name_no_patches_are_refused():
    run = generated(llava_of("llama"), sample())
    with pytest.raises(ValueError, match="no patches"):
        read_knockout(run.trace, [np.array([0, 1])])
    with pytest.raises(ValueError, match="sets of shape"):
        read_knockout(run.trace, np.zeros((2, 8), bool))
