"""Prompts: a version never changes, one's own folder is another one, and every example passes its own gates."""

import shutil
from pathlib import Path

import pytest
from tests.data.generation.teacher import PROMPTS, contexts_file, work

from lapilli.core.errors import UsageError
from lapilli.core.llm.call import Reply
from lapilli.data.generation import prompts
from lapilli.data.generation.gates import Checked, check
from lapilli.data.generation.kinds import KINDS
from lapilli.data.generation.prompts import read_prompts
from lapilli.data.generation.reply import read_pairs

SHIPPED = Path(prompts.__file__).parent / "versions/v1"
V1 = "48766062d39aecb3d617313e1e07820d8cbedd1c150e41a3617edb87d638546f"


def test_a_version_never_changes():
    """The answers that were paid for belong to it: a changed text is a new folder beside it."""
    assert PROMPTS.sha256 == V1


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_are_what_is_asked_for(kind):
    for number, context in enumerate(PROMPTS.examples, 1):
        if text := PROMPTS.texts.get(f"{kind}.{number}.txt"):
            for pair in read_pairs(kind, Reply(text, "stop", None, ""), "Describe it."):
                assert check(Checked(pair, kind, context)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_the_same_for_all_contexts_comes_first_and_is_long_enough_to_be_cached(tmp_path, kind):
    """Endpoints cache what calls have in common from their beginning, from 1,024 tokens on."""
    wanted = work(contexts_file(tmp_path, 2), (kind,))
    first, second = (wanted.engine.call(job).messages for job in wanted.jobs)
    assert first[:-1] == second[:-1] and first[-1] != second[-1]
    assert sum(len(message.content) for message in first[:-1]) / 4 >= 1_024


def test_ones_own_folder_is_another_version(tmp_path):
    own = shutil.copytree(SHIPPED, tmp_path / "own")
    assert read_prompts(str(own)).sha256 == V1
    (own / "detail.system.txt").write_text("Describe it in Latin.")
    assert read_prompts(str(own)).sha256 != V1
    file = contexts_file(tmp_path, 1)
    calls = [work(file, ("detail",), [f"prompts={name}"]) for name in ("v1", own)]
    assert len({one.engine.call(one.jobs[0]).key for one in calls}) == 2


@pytest.mark.parametrize("name", ["reasoning.system.txt", "conversation.1.txt", "questions.txt", "again.txt"])
def test_a_folder_without_a_text_is_refused(tmp_path, name):
    own = shutil.copytree(SHIPPED, tmp_path / "own")
    (own / name).write_text("\n")
    with pytest.raises(UsageError, match=f"{name}: missing or empty; give a folder with the files"):
        read_prompts(str(own))


@pytest.mark.parametrize("name", ["v9", "../v1", "nowhere", ""])
def test_another_version_is_refused(name):
    with pytest.raises(UsageError, match=r"no such version or folder|missing or empty"):
        read_prompts(name)


def test_a_folder_of_prompts_is_the_same_version_wherever_it_lies(tmp_path, monkeypatch):
    """Or all answers would be paid for again on another machine, or where the path is written in another way."""
    file = contexts_file(tmp_path, 1)
    shipped = Path(prompts.__file__).parent / "versions/v1"
    for place in ("one/mine", "other/mine"):
        shutil.copytree(shipped, tmp_path / place)
    monkeypatch.chdir(tmp_path / "one")
    keys = set()
    for name in ("mine", "./mine", "mine/", str(tmp_path / "other/mine"), "../other/mine"):
        wanted = work(file, overrides=[f"prompts={name}"])
        keys.add((wanted.engine.plan.prompts, wanted.engine.call(wanted.jobs[0]).key))
    assert len(keys) == 1


@pytest.mark.parametrize("name", ["again.txt", "unused.txt"])
@pytest.mark.parametrize("text", ["no field", "{other}", "{0}", "{", "a } b {fault}{facts}", "{fault.x}{facts.x}"])
def test_a_text_that_does_not_take_its_field_is_refused_before_anything_is_paid(tmp_path, name, text):
    shutil.copytree(Path(prompts.__file__).parent / "versions/v1", tmp_path / "mine")
    (tmp_path / "mine" / name).write_text(text)
    with pytest.raises(UsageError, match=f"{name}: write {{fa"):
        read_prompts(str(tmp_path / "mine"))
