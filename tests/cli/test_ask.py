"""`lapilli ask`, beside transformers' own pipeline."""

import json

import pytest
from tests.parts import joined, picture
from transformers import pipeline

from lapilli.cli import run
from lapilli.core.terminal import printable
from lapilli.model.reading import quiet


@pytest.fixture
def image(tmp_path):
    picture(5, 40, 30).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def _ask(*arguments):
    return run(["ask", *map(str, arguments)])


@pytest.mark.parity
@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2")])
def test_it_says_what_the_pipeline_says(pair, image, capsys):
    assert _ask(joined(*pair), image, "What color is it?", "--max-new-tokens", 9, "--json") == 0
    ours = json.loads(capsys.readouterr().out)
    with quiet():
        ask = pipeline("image-text-to-text", model=str(joined(*pair)))
        content = [{"type": "image", "url": str(image)}, {"type": "text", "text": "What color is it?"}]
        theirs = ask(text=[{"role": "user", "content": content}], max_new_tokens=9, return_full_text=False)
    assert ours["answer"] == theirs[0]["generated_text"].strip()
    assert len(ours["answer"]) > 1


def test_the_answer_alone_is_on_stdout(image, capsys):
    assert _ask(joined("clip", "llama"), image, "What color is it?", "--json") == 0
    answer = json.loads(capsys.readouterr().out)["answer"]
    assert _ask(joined("clip", "llama"), image, "What color is it?") == 0
    said = capsys.readouterr()
    assert said.out == printable(answer) + "\n"  # what a terminal might obey, it shows
    assert said.err == ""


def test_errors_are_one_line(image, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "half.jpg").write_bytes(_jpeg(tmp_path)[:300])
    for arguments, code, message in [
        ((tmp_path / "nowhere", image, "What?"), 2, "nowhere: no such folder; give that of a model"),
        ((joined("clip", "llama"), tmp_path / "text.png", "What?"), 1, "not a picture; save it as one of JPEG"),
        ((joined("clip", "llama"), tmp_path / "half.jpg", "What?"), 1, "cannot be decoded"),
        ((joined("clip", "llama"), tmp_path / "none.jpg", "What?"), 1, "no such file"),
        ((joined("clip", "llama"), image, "<image> and?"), 2, "holds <image>"),
        ((joined("clip", "llama"), image, "What?", "--max-new-tokens", 0), 2, "greater than or equal to 1"),
        ((joined("clip", "llama"), image, "What?", "--max-new-tokens", 900), 1, "the language model reads 256"),
    ]:
        assert _ask(*arguments) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert message in said.err
        assert said.err.count("\n") == 1


def _jpeg(folder):
    picture(6, 64, 64).save(folder / "whole.jpg")
    return (folder / "whole.jpg").read_bytes()
