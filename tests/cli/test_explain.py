"""`lapilli explain`, from the command line to the folder."""

import json

import pytest
from tests.parts import joined, picture

from lapilli.cli import run

QUESTION = "What color is the circle?"


@pytest.fixture
def image(tmp_path):
    picture(5, 40, 30).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def _explain(*arguments):
    return run(["explain", *map(str, arguments)])


@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2"), ("clip", "mistral")], ids="-".join)
def test_it_explains_the_answer_that_ask_gives(pair, image, tmp_path, capsys):
    assert run(["ask", str(joined(*pair)), str(image), QUESTION, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["answer"]
    out = tmp_path / "why"
    assert _explain(joined(*pair), image, QUESTION, "--out", out, "--controls", 2, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["answer"]["text"] == answer
    written = json.loads((out / "explanation.json").read_text())
    assert written == {name: value for name, value in said.items() if name not in ("folder", "hidden")}
    assert all(check["passed"] for check in said["checks"]) and len(said["receipts"]) == 3
    assert (out / "explanation.html").stat().st_size < 2_000_000


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_is_explained_as_far_as_its_digits_go(dtype, image, tmp_path, capsys):
    out = tmp_path / "why"
    options = ["--dtype", dtype, "--controls", 0, "--answer", "a small blue triangle", "--out", out, "--json"]
    assert _explain(joined("clip", "llama"), image, QUESTION, *options) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert all(check["passed"] for check in checks) and all(1e-5 < check["tolerance"] <= 0.1 for check in checks)
    assert (out / "explanation.html").is_file()


def test_the_command_in_a_receipt_gives_that_receipt_again(image, tmp_path, capsys):
    model = joined("clip", "llama")
    assert _explain(model, image, QUESTION, "--answer", "a red circle", "--controls", 3, "--seed", 4, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    receipt = first["receipts"][2]
    assert run([*receipt["command"][1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["answer"]["text"] == "a red circle"
    same = next(r for r in again["receipts"] if (r["map"], r["done"]) == (receipt["map"], receipt["done"]))
    assert same["measured"] == pytest.approx(receipt["measured"], abs=1e-6)
    assert same["controls"]["changes"] == pytest.approx(receipt["controls"]["changes"], abs=1e-6)


def test_a_contrast_is_explained_where_the_answers_part(image, capsys):
    options = ["--answer", "a small blue circle", "--contrast", "a small green circle", "--controls", 0, "--json"]
    assert _explain(joined("clip", "llama"), image, QUESTION, *options) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["method"]["target"]["kind"] == "difference"
    part = said["answer"]["words"][said["answer"]["focus"]]["text"]
    assert part and "blue".startswith(part) and said["method"]["target"]["against_text"] in "green"


def test_without_a_folder_it_prints_and_writes_nothing(image, tmp_path, capsys):
    assert _explain(joined("clip", "llama"), image, QUESTION, "--answer", "red", "--controls", 0) == 0
    said = capsys.readouterr()
    assert said.out.startswith("red\n") and "not-tested" in said.out and "together" in said.out
    assert said.err == "" and [file.name for file in tmp_path.iterdir()] == ["noise.png"]


def test_a_picture_that_is_partly_cropped_is_said_to_be(tmp_path, capsys):
    model = tmp_path / "model"
    assert run(["model", "convert", str(joined("clip", "llama")), str(model), "--to", "hf"]) == 0
    settings = json.loads((model / "preprocessor_config.json").read_text())
    (model / "preprocessor_config.json").write_text(json.dumps(settings | {"do_pad": False}))
    picture(5, 48, 24).save(tmp_path / "wide.png")
    capsys.readouterr()
    assert _explain(model, tmp_path / "wide.png", QUESTION, "--answer", "red", "--controls", 0, "--json") == 0
    said = capsys.readouterr()
    assert "50 % of the picture is not seen" in said.err
    view = json.loads(said.out)["image"]["view"]
    assert view["hidden"] == 0.5 and view["lost"] == "cropped" and view["to_image"][4] == 12


def test_pictures_of_ones_own_take_the_place_of_the_shipped_ones(image, tmp_path, capsys):
    """The one that is asked about is not among them, and the command says where they are."""
    others = tmp_path / "others"
    others.mkdir()
    for number in range(6):
        picture(number, 40, 30).save(others / f"{number}.png")  # 5.png is the picture itself
    model, options = joined("clip", "llama"), ("--answer", "red", "--controls", 1, "--json")
    assert _explain(model, image, QUESTION, "--swap", others, *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["dependence"]["swapped"]["log_prob"]) == 5
    command = found["made_by"]["command"]
    assert command[command.index("--swap") + 1] == str(others)
    assert run([*command[1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["dependence"]
    assert again["swapped"]["log_prob"] == pytest.approx(found["dependence"]["swapped"]["log_prob"], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--target", "loud"], 2, "choose centred or token"),
        (["--remove", "3-x"], 2, "'3-x' is no patch"),
        (["--remove", "0-8"], 2, "there are 9 patches, numbered from 0; name some of them, not all"),
        (["--remove", "12"], 2, "there are 9 patches"),
        (["--remove", "5-3"], 2, "--remove 5-3"),
        (["--remove", "3-"], 2, "'3-' is no patch"),
        (["--remove", "9" * 5_000], 2, "is no patch"),
        (["--remove", "0-99999999999999"], 2, "there are 9 patches"),
        (["--target", "token", "--contrast", "blue"], 2, "leave one of them out"),
        (["--answer", "red " * 300], 1, "but the language model reads 256; shorten it"),
        (["--answer", "red", "--contrast", "red"], 2, "nowhere differs"),
        (["--answer", " "], 1, "answer"),
        (["--controls", -1], 2, "greater than or equal to 0"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(options, code, message, image, tmp_path, capsys):
    out = tmp_path / "why"
    assert _explain(joined("clip", "llama"), image, QUESTION, "--out", out, *options) == code
    said = capsys.readouterr()
    assert said.out == "" and not out.exists()
    assert len(said.err.splitlines()) == 1 and message in said.err


@pytest.mark.parametrize(
    "options", [["--target", "loud"], ["--remove", "3-x"], ["--target", "token", "--contrast", "a"]]
)
def test_wrong_options_are_refused_before_a_model_is_read(options, image, tmp_path, capsys):
    assert _explain(tmp_path / "no model", image, QUESTION, *options) == 2
    assert f"{options[0].removeprefix('--')} {options[1]}: " in capsys.readouterr().err


def test_most_of_the_patches_may_be_removed(image, capsys):
    """Of nine there are 36 sets of seven: as many controls as different ones."""
    model = joined("clip", "llama")
    assert _explain(model, image, QUESTION, "--answer", "red", "--remove", "0-5,7", "--controls", 12, "--json") == 0
    for receipt in json.loads(capsys.readouterr().out)["receipts"]:
        controls, random = receipt["controls"], receipt["shuffled"]
        assert receipt["done"]["patches"] == [0, 1, 2, 3, 4, 5, 7] and receipt["verdict"] != "not-tested"
        assert controls["drawn"] == 24 >= len(controls["changes"]) + len(controls["contiguous"]) > 0
        assert random["kind"] == "Random patches" and len(random["patches"]) == 7 and random["chance"] == 1 / 13


def test_of_nearly_all_patches_there_are_too_few_controls(image, capsys):
    model = joined("clip", "llama")
    assert _explain(model, image, QUESTION, "--answer", "red", "--remove", "0-7", "--json") == 0
    for receipt in json.loads(capsys.readouterr().out)["receipts"]:
        assert receipt["verdict"] == receipt["shuffled"]["verdict"] == "not-tested"
        assert 6 <= receipt["controls"]["drawn"] == 2 * len(receipt["controls"]["changes"]) <= 8


def test_spaces_around_a_given_answer_are_not_explained(image, capsys):
    said = []
    for answer in ("a red circle", "  a red circle "):
        assert _explain(joined("clip", "llama"), image, QUESTION, "--answer", answer, "--controls", 0, "--json") == 0
        said.append(json.loads(capsys.readouterr().out)["answer"])
    assert said[0] == said[1]


def test_a_folder_that_is_taken_is_refused_before_anything_is_computed(image, tmp_path, capsys):
    out = tmp_path / "why"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert _explain(tmp_path / "no model", image, QUESTION, "--out", out) == 1
    assert "why" in capsys.readouterr().err and (out / "mine.txt").read_text() == "mine"
