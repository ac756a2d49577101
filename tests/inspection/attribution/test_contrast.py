import pytest
from tests.parts import joined, picture

from lapilli.core.errors import UsageError
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.attribution.contrast import contrasted
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.target import Target
from lapilli.model.llava import load

SAMPLE = Sample("q", ("a",), (Turn("user", "<image>\nWhat color is the circle?"),))


@pytest.fixture(scope="module", params=[("clip", "llama"), ("siglip", "qwen2")], ids="-".join)
def llava(request):
    return load(joined(*request.param))


def trace_of(llava, text):
    return traced(llava, answered(llava, SAMPLE, text), llava.pixels([picture(0)]))


def test_the_contrast_is_the_first_token_in_which_the_answers_differ(llava):
    trace = trace_of(llava, "a small blue triangle")
    target, at = contrasted(trace, SAMPLE, "a small green triangle")
    tokenizer = llava.processor.tokenizer
    given = tokenizer.decode(trace.next_ids[:at].tolist()).strip()
    assert "a small blue triangle".startswith(given) and "a small green triangle".startswith(given)
    assert target == Target("difference", target.against)
    assert tokenizer.decode([*trace.next_ids[:at].tolist(), target.against]).strip() in "a small green triangle"
    assert target.against != trace.next_ids[at]


@pytest.mark.parametrize("text", ["red", "red circle"])
def test_an_answer_that_differs_nowhere_is_refused(llava, text):
    with pytest.raises(UsageError, match="nowhere differs"):
        contrasted(trace_of(llava, "red"), SAMPLE, text)


def test_a_shorter_contrast_is_told_apart_by_its_end(llava):
    trace = trace_of(llava, "red circle")
    target, at = contrasted(trace, SAMPLE, "red")
    assert target.against == llava.stop_id and at > 0


@pytest.mark.parametrize(("kind", "against"), [("difference", None), ("token", 3), ("centred", 3), ("size", None)])
def test_a_target_that_makes_no_sense_is_refused(kind, against):
    with pytest.raises(UsageError, match="target"):
        Target(kind, against)
