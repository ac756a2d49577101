"""Files of answers and labels, and their scores through the command line."""

import json

from lapilli.cli import run


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def whole(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def score(capsys, *arguments):
    """The JSON that the command prints."""
    code = run(["score", *map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def refusal(capsys, *arguments):
    """The one line with which the command fails."""
    code = run(["score", *map(str, arguments)])
    captured = capsys.readouterr()
    assert code in (1, 2) and captured.out == "" and captured.err.count("\n") == 1, captured
    return captured.err


def answers(tmp_path, texts, name="answers.jsonl", prompt="?"):
    """LLaVA's file of answers, from texts by the question's name."""
    return lines(tmp_path / name, [{"question_id": key, "prompt": prompt, "text": text} for key, text in texts.items()])
