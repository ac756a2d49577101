"""The page of trainings: figures as logged, text that stays text, of bounded size, that fits every window."""

import json
import re

import pytest
from tests.report.boxes import WIDTHS, fit, outside, touching

from lapilli.core.errors import LapilliError
from lapilli.core.run import RunDir
from lapilli.report.training.page import drawn, render, write_page
from lapilli.report.training.read import read_runs

PIXEL = "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD="
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 12


def made(folder, steps=60, text="red", rate=1e-3, samples=2, every=10, finish=True, best=None, planned=None):
    """A run folder as a training leaves it; `text` stands wherever somebody else's may."""
    validation = {"keep": "best" if best else "last"}
    recipe = {
        "stage": "instruct",
        "out": str(folder),
        "learning_rate": rate,
        "data": {"file": text},
        "validation": validation,
    }
    run = RunDir.create(folder, recipe | {"lora": {"rank": 8, "dora": False}, "llm": {"layers": [1, 2]}}, seed=0)
    part = {"part": "llm", "mode": "lora", "parameters": 2000, "learned_parameters": 300}
    counts = {"samples": 90, "tokens": 1200, "learned_tokens": 400, "validation_samples": 10, "validation_tokens": 100}
    run.save("start", {"parts": [part], "device": "cpu", "steps": planned or steps, "steps_per_epoch": 30, **counts})
    run.save("skipped", [{"row": 1}])
    if samples:
        run.save("sample_pictures", {text: PIXEL})
    lines, rows = [], []
    for step in range(1, steps + 1):
        speed = {"samples_per_second": 20.0, "tokens_per_second": 5e3, "images_per_second": 20.0, "padding_share": 0.1}
        line = {"step": step, "epoch": step / 30, "loss": 2.0 / step, "learning_rate": rate, "grad_norm": 1.5}
        lines.append({**line, **speed, "peak_memory_gb": 1.5})
        if step % every == 0:
            accuracy = {"a_accuracy": 0.5, "a_accuracy_low": 0.4, "a_accuracy_high": 0.6, "a_n": 50}
            lines.append({"step": step, "epoch": step / 30, "validation_loss": 3.0 / step + rate, **accuracy})
            rows += [
                {"step": step, "id": f"{n}", "images": [text], "question": text, "expected": "red", "reply": text}
                for n in range(samples)
            ]
    run.append("metrics", lines)
    run.append("samples", rows)
    if finish:
        run.save(
            "training", {"steps": steps, "seconds": 75.0, "samples_per_second": 19.0, "validation_step": best or steps}
        )
        run.finish()
    return folder


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<body>")[2])).replace("\u202f", " ")


def test_the_figures_are_those_of_the_log(tmp_path):
    (run,) = read_runs([made(tmp_path / "run")])
    (figures,) = drawn([run])
    assert figures["curves"]["loss"] == [(step, 2.0 / step) for step in range(1, 61)]
    assert figures["curves"]["validation_loss"] == [(step, 3.0 / step + 1e-3) for step in range(10, 61, 10)]
    assert figures["accuracy"] == {
        "a": [{"step": step, "accuracy": 0.5, "low": 0.4, "high": 0.6, "n": 50} for step in range(10, 61, 10)]
    }
    words = text_of(render([run]))
    for said in (
        "It finished after 60 steps.",
        "lowest validation loss 0.051 (step 60)",
        "last accuracy, a 50.0 % (40.0–60.0 %, n = 50)",
        "time 1 min 15 s",
        "language model LoRA of rank 8, layers [1, 2] 300 2,000",
        "samples 90 tokens 1,200 learned tokens 400 validation samples 10 validation tokens 100 skipped samples 1",
        "lora.rank 8",
    ):
        assert said in words


def test_several_runs_lie_over_each_other_and_what_they_differ_in_is_listed(tmp_path):
    runs = read_runs(
        [made(tmp_path / "low", rate=1e-4), made(tmp_path / "high", rate=1e-3), made(tmp_path / "short", steps=20)]
    )
    page = render(runs)
    losses = page[page.index("Training loss, smoothed") :]
    svg = losses[losses.index("<svg") : losses.index("</svg>")]
    assert re.findall(r'class="series (c\d)"><g', svg) == ["c0", "c1", "c2"]
    first, second, third = re.findall(r'points="([^"]*)"', svg)
    assert first == second and first.startswith(third.split(" ")[0])  # one axis: the same losses lie in the same place
    words = text_of(page)
    differing = words[words.index("Where the recipes differ") : words.index("The cross-entropy")]
    assert re.findall(r"(out|learning_rate|data\.file|lora\.rank) ", differing) == ["out", "learning_rate"]
    assert "0.0001 0.001 0.001" in differing
    assert "The lowest validation loss is that of low: 0.0501." in words


def test_runs_of_one_name_are_told_apart(tmp_path):
    paths = [made(tmp_path / "a/run"), made(tmp_path / "b/run")]
    assert [run.name for run in read_runs(paths)] == ["a/run", "b/run"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "It finished after 60 steps."),
        (
            {"best": 20},
            "It finished after 60 steps. Its model is that of step 20, which had the lowest validation loss.",
        ),
        ({"planned": 90}, "It finished early, after step 60 of 90, as its patience came to an end."),
        ({"finish": False, "planned": 90}, "It was stopped after step 60 of 90; without a checkpoint it begins again."),
    ],
)
def test_how_it_ended(tmp_path, settings, sentence):
    (run,) = read_runs([made(tmp_path / "my run", **settings)])
    assert run.state.sentence == sentence
    command = f"lapilli train '{tmp_path}/my run/recipe.yaml' --resume"
    assert run.state.command == (None if run.state.word.startswith("finished") else command)


def test_a_stopped_run_names_its_checkpoint_or_that_its_model_is_there(tmp_path):
    folder = made(tmp_path / "run", finish=False)
    for step, whole in ((20, True), (40, True), (50, False)):
        checkpoint = folder / f"checkpoints/checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        if whole:
            (checkpoint / "manifest.json").write_text("{}")
    assert "it goes on from the checkpoint of step 40." in read_runs([folder])[0].state.sentence
    (folder / "model").mkdir()
    assert "its model is there, and to be finished it needs its manifest alone" in read_runs([folder])[0].state.sentence


def test_a_part_is_said_to_begin_again(tmp_path):
    RunDir.create(tmp_path / "part", {"stage": "vision", "out": "part"}, 0).log(step=1, caption_loss=2.0)
    (run,) = read_runs([tmp_path / "part"])
    assert run.state.command is None and "a part is trained in one go" in run.state.sentence
    assert "caption loss" in render([run])


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    RunDir.create(tmp_path / "run", {"stage": "align", "out": "run"}, 0)
    page = render(read_runs([tmp_path / "run"]))
    assert "It was stopped after step 0" in page and "<h2>Loss</h2>" not in page


def test_replies_are_shown_by_step_and_a_right_one_is_marked(tmp_path):
    folder = made(tmp_path / "run", steps=300, every=10, samples=1, text="blue")
    page = render(read_runs([folder]))
    table = page[page.index('class="asked-again"') :]
    steps = re.findall(r"<tr><th>(\d+)</th><td>blue</td></tr>", table)
    assert (steps[0], steps[-1], len(steps)) == ("10", "300", 12)
    assert "18 more steps in samples.jsonl" in page and page.count(PIXEL) == 1
    right = render(read_runs([made(tmp_path / "right", samples=1, text="red")]))
    assert '<td class="right">red</td>' in right


def test_text_stays_text_everywhere(tmp_path):
    folder = made(tmp_path / EVIL.replace("/", "_"), text=EVIL)
    with (folder / "environment.json").open("w") as file:
        json.dump({"started": EVIL, "python": EVIL, "platform": EVIL, "versions": {EVIL: EVIL}}, file)
    page = render(read_runs([folder, made(tmp_path / "other")]))
    assert "<script" not in page and "<img src=x" not in page and "&lt;script&gt;" in page
    assert set(re.findall(r"<img src=\"(.{5})", page)) == {PIXEL[:5]}
    assert "http" not in re.sub(r"<meta[^>]*>", "", page)


def test_a_long_training_makes_no_large_page(tmp_path):
    folder = made(tmp_path / "run", steps=6_000, every=20, samples=30, text="x" * 3_000)
    page = render(read_runs([folder]))
    assert page.count("<img ") == 24 and "6 more questions in samples.jsonl" in page
    assert len(page) < 3_000_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.jsonl", '{"loss": 1}\n', "metrics.jsonl:1: step: missing"),
        ("metrics.jsonl", '{"step": -1}\n', "metrics.jsonl:1: step: missing, or no number of 0 or more"),
        ("samples.jsonl", '{"step": 1, "id": "1"}\n', "samples.jsonl:1: expected: missing"),
        ("results/start.json", '{"parts": 3}', "results/start.json: parts: 3, a list expected"),
        ("results/sample_pictures.json", '{"a": "../secret.png"}', "a: no picture as a data URI"),
        ("recipe.yaml", "seed: 1", "not a run of `lapilli train`: its recipe has no stage"),
    ],
)
def test_a_spoilt_run_is_refused(tmp_path, name, content, message):
    (made(tmp_path / "run") / name).write_text(content)
    with pytest.raises(LapilliError) as caught:
        read_runs([tmp_path / "run"])
    assert message in str(caught.value)


def test_half_a_last_line_is_left_out(tmp_path):
    folder = made(tmp_path / "run", finish=False)
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (folder / name).open("a") as file:
            file.write('{"step": 61, "lo')
    (run,) = read_runs([folder])
    assert run.steps == 60 and run.samples[-1].step == 60


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("text", ["red", LONG, EVIL])
def test_nothing_leaves_its_column_in_a_window_of_any_width(browser, tmp_path, text, count):
    rates = [1e-3 * 7**-n for n in range(count)]
    paths = [made(tmp_path / f"{text[:60].replace('/', '_')}{n}", text=text, rate=rate) for n, rate in enumerate(rates)]
    write_page(read_runs(paths), tmp_path / "page.html")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    for width in WIDTHS:
        fit(page, width)
        assert outside(page, ".chapter, .top", "img, svg.chart", ".scroll, details, .skip, .theme legend") == []
        assert touching(page, "svg.chart", "text") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
