"""Ways cut, against the whole model run under masks, and random looks."""

import numpy as np
import pytest
from tests.inspection.runs import Run, full_logits, llava_of, sample
from tests.parts import picture

from lapilli.core.layout import Role
from lapilli.inspection.intervention.replay import Cut
from lapilli.inspection.recording import answered, traced
from lapilli.studies.color.fact_routes import ROUTES, cut_routes, random_edges, spans
from lapilli.studies.color.places import Places
from lapilli.studies.color.question_measures import generator_of


@pytest.fixture(scope="module")
def run():
    llava = llava_of("deep")
    pixels = llava.pixels([picture(3)])
    trace = traced(llava, answered(llava, sample(), "red"), pixels, whole=True)
    facts, last = trace.layout.positions(Role.IMAGE), int(trace.queries[0])
    return Run(trace, pixels), Places(facts, np.arange(facts[-1] + 1, last), last, np.zeros(len(facts), np.bool_))


def _named(where, way):
    """The looks of a way as cuts of one position each, written out."""
    facts, question, last = where.facts.tolist(), where.question.tolist(), where.last
    pairs = {
        "facts->facts": [(one, other) for one in facts for other in facts if other < one],
        "facts->question": [(one, other) for one in question for other in facts],
        "facts->last": [(last, other) for other in facts],
        "facts->text": [(one, other) for one in [*question, last] for other in facts],
        "question->last": [(last, other) for other in question],
        "both->last": [(last, other) for other in [*facts, *question]],
    }[way]
    return lambda layers: [Cut(np.array([one]), np.array([other]), layers) for one, other in pairs]


@pytest.mark.parametrize("way", ROUTES)
def test_a_way_cut_is_the_whole_model_run_under_its_mask(run, way):
    ran, where = run
    tried = spans(5)
    change, _ = cut_routes(ran.trace, where, np.random.default_rng(0))
    token = int(ran.trace.next_ids[0])
    clean = full_logits(ran.trace.llava, ran, [])[where.last].log_softmax(-1)[token]
    for number, span in enumerate(tried):
        if span.kind == "window" and span.layers.start not in (0, 3):
            continue
        logits = full_logits(ran.trace.llava, ran, _named(where, way)(span.layers))[where.last]
        expected = float(logits.log_softmax(-1)[token] - clean)
        assert change[ROUTES.index(way), number] == pytest.approx(expected, abs=2e-4), span


def test_spans_are_windows_halves_and_all():
    found = [(span.kind, span.layers.start, span.layers.stop) for span in spans(5)]
    windows = [("window", at, at + 1) for at in range(5)]
    assert found == [*windows, ("shallow", 0, 2), ("deep", 3, 5), ("whole", 0, 5)]
    assert [span.layers for span in spans(32)[-3:]] == [range(16), range(16, 32), range(32)]


def test_random_looks_are_others_and_as_many():
    but = np.array([(10, 5), (10, 6), (11, 5), (12, 11)])
    counts = np.zeros((14, 14))
    for seed in range(400):
        found = random_edges(np.random.default_rng(seed), 8, 12, but)
        assert len({tuple(look) for look in found.tolist()}) == 4
        counts[tuple(found.T)] += 1
    allowed = {(one, other) for one in range(8, 13) for other in range(1, one)} - {tuple(look) for look in but.tolist()}
    assert {tuple(look) for look in np.argwhere(counts).tolist()} == allowed
    expected = 1600 / len(allowed)
    assert np.abs(counts[counts > 0] - expected).max() < 5 * expected**0.5


def test_random_looks_are_fewer_where_there_are_no_more():
    but = np.array([(3, other) for other in range(1, 3)])
    assert len(random_edges(np.random.default_rng(0), 2, 3, but)) == 1  # position 2 looks at 1, and that is all


def test_every_question_has_random_edges_of_its_own():
    """Names of questions end alike."""
    excluded = np.array([[9, 4], [9, 5]], np.intp)
    draws = {
        name: random_edges(generator_of(name, 0), 3, 30, excluded).tolist()
        for name in ("000001-0-color", "000002-0-color", "1-color", "color")
    }
    assert len({str(edges) for edges in draws.values()}) == len(draws)
    assert random_edges(generator_of("1-color", 0), 3, 30, excluded).tolist() == draws["1-color"]
    assert random_edges(generator_of("1-color", 1), 3, 30, excluded).tolist() != draws["1-color"]
