"""`lapilli data validate` and `lapilli data show`, as a user meets them."""

import json

import pytest
from PIL import Image
from rich.console import Console
from tests.parts import joined, part

from lapilli.cli import console, run
from lapilli.cli.console import results

TALK = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A [b]kite[/b]."}]
NOT_ALL = "without --stage and --model: lengths and the tokenizer's control tokens are not checked\n"
GOOD = {"id": "good", "image": "a.png", "conversations": TALK}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "width", 200)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return tmp_path


def _file(folder, rows, name="rows.json"):
    path = folder / name
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


def test_a_good_file_ends_with_0_and_a_summary(folder, capsys):
    path = _file(folder, [GOOD, {"id": "text", "conversations": [{**TALK[0], "value": "Hi"}, TALK[1]]}])
    assert run(["data", "validate", str(path), "--images", str(folder)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{path}: 2 rows, 1 images, 0 problems\n"
    assert captured.err == NOT_ALL


def test_problems_end_with_1_a_table_and_a_summary(folder, capsys):
    bad = {"id": "[red]b\x1b[1m", "image": "no.png", "conversations": [TALK[0], {"from": "bot", "value": "x"}]}
    path = _file(folder, [GOOD, bad])
    assert run(["data", "validate", str(path), "--images", str(folder)]) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [word.strip() for word in lines[1].split("┃")[1:-1]] == ["row", "id", "field", "problem", "remedy"]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert cells[0] == [
        "1",
        "[red]b\\x1b[1m",
        "conversations[1]",
        "unknown role 'bot'",
        "known roles: human, user, gpt, assistant",
    ]
    assert cells[1][2:4] == ["image", "'no.png': no such file"]
    assert lines[-1] == f"{path}: 2 rows, 2 images, 2 problems"
    assert captured.err == NOT_ALL


def test_a_long_table_is_cut_and_says_so(folder, capsys):
    path = _file(folder, [{**GOOD, "id": number, "image": "no.png"} for number in range(70)])
    assert run(["data", "validate", str(path), "--images", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("│") for line in lines) == 50
    assert lines[-2:] == ["... and 20 more; --json lists them all", f"{path}: 70 rows, 1 images, 70 problems"]


def test_json_has_every_problem_and_is_all_of_stdout(folder, capsys):
    path = _file(folder, [{**GOOD, "id": number, "image": "no.png"} for number in range(70)])
    assert run(["data", "validate", str(path), "--images", str(folder), "--json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["file"], found["rows"], found["images"], len(found["problems"])) == (str(path), 70, 1, 70)
    assert found["problems"][69] == {
        "row": 69,
        "id": "69",
        "field": "image",
        "message": "'no.png': no such file",
        "remedy": "put the picture there, or correct its path",
    }
    assert captured.err == ""


def test_a_long_file_shows_its_progress_on_stderr_to_a_terminal_alone(folder, capsys, monkeypatch):
    path = _file(folder, [{**GOOD, "id": number} for number in range(200)])
    assert run(["data", "validate", str(path), "--images", str(folder), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["rows"] == 200
    assert captured.err == ""
    monkeypatch.setattr(console, "messages", Console(stderr=True, force_terminal=True))
    assert run(["data", "validate", str(path), "--images", str(folder), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["rows"] == 200
    assert "200/200" in captured.err


def test_a_file_that_is_no_json_is_a_problem_and_one_that_is_not_there_an_error(folder, capsys):
    path = _file(folder, '[{"id": 1},]')
    assert run(["data", "validate", str(path), "--images", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 0 and found["problems"][0]["row"] is None
    assert "trailing comma" in found["problems"][0]["message"]
    assert run(["data", "validate", str(folder / "no.json"), "--images", str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"lapilli: {folder}/no.json: cannot be read: No such file or directory; check the path\n"


def test_with_a_stage_and_a_model_it_finds_what_training_refuses(folder, capsys):
    model = str(joined("clip", "llama", "linear"))
    talk = [TALK[0], {"from": "gpt", "value": "strike <s>this"}]
    text = {"id": "text", "conversations": [{"from": "human", "value": "</s>Hi"}, TALK[1]]}
    path = str(_file(folder, [GOOD, {**GOOD, "id": "control", "conversations": talk}, text]))
    options = ["data", "validate", path, "--images", str(folder), "--json"]
    assert run([*options, "--stage", "align", "--model", model]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["row"], one["field"]) for one in found["problems"]] == [(1, "turn 1"), (2, "image")]
    assert run([*options, "--stage", "instruct", "--model", model]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["row"], one["field"]) for one in found["problems"]] == [(1, "turn 1")]
    assert [(one["row"], one["field"]) for one in found["warnings"]] == [(2, "turn 0")]
    assert run([*options[:-1], "--stage", "instruct", "--model", model]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == f"{path}: 3 rows, 1 images, 1 problems, 1 warnings"
    assert "control token '</s>'" in captured.out and captured.err == ""
    assert run([*options, "--stage", "instruct"]) == 2
    assert capsys.readouterr().err == "lapilli: give both --stage and --model, or neither\n"


def test_the_images_folder_is_needed(folder, capsys):
    assert run(["data", "validate", str(_file(folder, [GOOD]))]) == 2
    assert "--images" in capsys.readouterr().err


def test_show_prints_the_tokens_of_one_row(folder, capsys):
    path = _file(folder, [{"id": "bad"}, GOOD])
    model = str(joined("clip", "llama", "linear"))
    assert run(["data", "show", str(path), "--row", "1", "--model", model]) == 0
    captured = capsys.readouterr()
    assert "[image 0: 3x3 patches]" in captured.out
    told = captured.out.replace("│", "")
    assert "<answer+> A [b]kite[/b].<stop+></s>" in told  # no terminal, no colors: roles in words
    assert "<question>" in told and "<question+>" not in told
    assert captured.out.splitlines()[-1].endswith(" learned, 1 images")
    assert captured.err == ""


def test_show_json_has_ids_labels_roles_and_tokens(folder, capsys):
    path = _file(folder, [GOOD])
    model = str(joined("clip", "llama", "linear"))
    assert run(["data", "show", str(path), "--row", "0", "--model", model, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == ["ids", "labels", "roles", "tokens", "control"]
    assert shown["roles"].count("image") == 9
    learned = [token for token, label in zip(shown["tokens"], shown["labels"], strict=True) if label != -100]
    assert "".join(learned).replace("Ġ", " ") == " A [b]kite[/b].</s>"


def test_show_of_a_bad_row_and_of_none_is_an_error(folder, capsys):
    path = _file(folder, [{"id": "bad"}])
    model = str(joined("clip", "llama", "linear"))
    assert run(["data", "show", str(path), "--row", "0", "--model", model]) == 1
    assert capsys.readouterr().err.startswith(f"lapilli: {path}, row 0: conversations: missing; ")
    assert run(["data", "show", str(path), "--row", "5", "--model", model]) == 1
    assert capsys.readouterr().err == f"lapilli: {path}, row 5: there are 1 rows; they count from 0\n"
    assert run(["data", "show", str(path), "--row", "-1", "--model", model]) == 2


def test_show_without_a_model_prints_what_the_model_would(folder, capsys):
    path = str(_file(folder, [GOOD]))
    model, tokenizer = str(joined("clip", "llama")), str(part("llama"))
    assert run(["data", "show", path, "--row", "0", "--model", model, "--json"]) == 0
    shown = capsys.readouterr().out
    alone = ["--tokenizer", tokenizer, "--template", "vicuna_v1", "--image-tokens", "9"]
    assert run(["data", "show", path, "--row", "0", *alone, "--json"]) == 0
    assert capsys.readouterr().out == shown
    assert run(["data", "show", path, "--row", "0", *alone]) == 0
    assert "[image 0: 3x3 patches]" in capsys.readouterr().out


def test_show_takes_a_model_or_all_that_stands_for_one(folder, capsys):
    path = str(_file(folder, [GOOD]))
    model, tokenizer = str(joined("clip", "llama")), str(part("llama"))
    wrong = [[], ["--model", model, "--template", "plain"], ["--tokenizer", tokenizer, "--image-tokens", "9"]]
    for options in wrong:
        assert run(["data", "show", path, "--row", "0", *options]) == 2
        told = "lapilli: give either --model, or all of --tokenizer, --template and --image-tokens\n"
        assert capsys.readouterr().err == told
