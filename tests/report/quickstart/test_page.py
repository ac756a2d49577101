import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.report.quickstart.fake_results import fake_results, overall

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.proportion import wilson
from lapilli.report.kit import figures
from lapilli.report.kit.pictures import data_uri
from lapilli.report.quickstart.page import render, write_report
from lapilli.report.quickstart.schema import Results

PNG = base64.b64decode(fake_results()["examples"][0]["image"].split(",")[1])
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """The page's tags, attributes and text; raises when a tag is closed that is not open."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return said(" ".join(self.words))


def said(text):
    """The text with runs of ordinary blanks as one; the narrow ones within numbers stay."""
    return re.sub(r"[ \n]+", " ", text)


@pytest.fixture(scope="module")
def results():
    return fake_results()


@pytest.fixture(scope="module")
def html(results):
    return render(results, Path())


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_every_tag_that_is_opened_is_closed(page):
    assert page.open == []


def test_the_page_loads_nothing_and_runs_one_script_that_its_policy_names(html, page):
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "poster", "action", "background", "data", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), (tag, attributes)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL).group(1)
    assert "@import" not in style
    assert "url(" not in style
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_text_from_the_results_stays_text():
    evil = '<script>alert("1")</script>'
    results = fake_results()
    results |= {"title": evil, "finished": evil, "command": evil, "versions": {evil: evil}, "machine": {"system": evil}}
    results["examples"][0] |= {"question": evil, "answer": evil, "expected": evil, "truth": evil, "type": evil}
    results["captions"]["examples"][0] |= {"caption": evil, "truth": evil}
    results["stages"][0]["row"]["tokens"][0] |= {"text": evil, "role": evil}
    results["stages"][0]["row"]["template"] = evil
    results["stages"][0]["recipe"] = results["parts"][0]["card"] = results["parts"][0]["name"] = evil
    results["steps"][0]["name"] = results["constants"][0]["answer"] = results["scores"][0]["type"] = evil
    results["next_commands"][0] |= {"command": evil, "purpose": evil}
    html = render(results, Path())
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.text.count(evil) >= 12
    assert page.open == []


def test_every_score_stands_in_the_tables(results, page):
    for score in results["scores"]:
        assert figures.percent(score["estimate"]) in page.text
        assert figures.interval(score["low"], score["high"]) in page.text
        assert figures.whole(score["n"]) in page.text
    for constant in results["constants"]:
        assert figures.percent(constant["estimate"]) in page.text
        assert constant["answer"] in page.text


def test_the_headline_gives_the_pooled_accuracy_and_the_blank_control(results, page):
    for condition in ("image", "blank"):
        rows = [
            row for row in results["scores"]
            if (row["stage"], row["split"], row["condition"]) == ("instruct", "held_out", condition)
        ]  # fmt: skip
        overall = wilson(sum(row["correct"] for row in rows), sum(row["n"] for row in rows))
        assert figures.percent(overall.estimate) in page.text[: page.text.index("What happened")]


def test_every_figure_of_the_training_stands_on_the_page(results, page):
    for stage in results["stages"]:
        for key in ("trainable_parameters", "samples", "steps"):
            assert figures.whole(stage[key]) in page.text
        assert figures.duration(stage["seconds"]) in page.text
        assert f"{stage['samples_per_second']:.1f}" in page.text
        assert said(stage["recipe"]) in page.text
        assert figures.loss(stage["metrics"][-1]["loss"]) in page.text
    for step in results["steps"]:
        assert step["name"] in page.text
        assert figures.duration(step["seconds"]) in page.text
    for part in results["parts"]:
        assert part["name"] in page.text
        assert figures.whole(part["parameters"]) in page.text
        assert said(part.get("card", "")) in page.text


def test_the_loss_table_holds_every_logged_step_of_a_short_stage():
    results = fake_results()
    metrics = [{"step": 10 * i, "loss": 1 / i, "learning_rate": 1e-3 / i} for i in range(1, 41)]
    results["stages"] = [results["stages"][0] | {"metrics": metrics}]
    text = Page(render(results, Path())).text
    for metric in metrics:
        row = f"{metric['step']} {figures.loss(metric['loss'])} {figures.learning_rate(metric['learning_rate'])}"
        assert row in text


def test_captions_examples_and_the_record_stand_on_the_page(results, page):
    captions = results["captions"]
    for rate in (captions["mentioned"], captions["shuffled"]):
        assert figures.percent(rate["estimate"]) in page.text
    for example in captions["examples"]:
        assert example["caption"] in page.text
        assert example["truth"] in page.text
    for row in results["english"]["scores"]:
        assert f"{row['type']} 50" in page.text or f"{row['type']} 360" in page.text
        assert figures.percent(row["before"]["estimate"]) in page.text
    assert "63.7 58.2 to 69.4 66.1 60.3 to 72.9" in page.text
    for command in results["next_commands"]:
        assert command["command"] in page.text
        assert command["purpose"] in page.text
    machine = results["machine"]
    facts = [*results["versions"].values(), results["seed"], results["finished"], results["command"], results["title"]]
    facts += [machine["processor"], machine["system"], figures.size(machine["memory_bytes"])]
    for fact in [*facts, figures.size(results["peak_memory_bytes"]), figures.duration(results["seconds"])]:
        assert str(fact) in page.text


def test_wrong_answers_are_shown_as_wrong_beside_what_was_expected(results, page):
    wrong = [example for example in results["examples"] if not example["correct"]]
    assert wrong
    assert page.text.count("✗ wrong") == len(wrong)
    assert page.text.count("✓ right") == len(results["examples"]) - len(wrong)
    for example in results["examples"]:
        assert example["question"] in page.text
        assert example["answer"] in page.text
        assert example["expected"] in page.text


def test_pictures_and_charts_say_what_they_are(results, page):
    for tag, attributes in page.tags:
        if tag == "img":
            assert "alt" in attributes
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]
    truths = [attributes.get("alt") for tag, attributes in page.tags if tag == "img"]
    assert results["examples"][0]["truth"] in truths


def test_no_id_occurs_twice_and_every_label_is_there(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes} <= set(ids)


@pytest.mark.parametrize("key", sorted(Results.__optional_keys__))
def test_a_page_without_one_of_the_optional_parts(key, results):
    assert Page(render({name: value for name, value in results.items() if name != key}, Path())).open == []


def test_a_page_of_the_required_parts_alone():
    text = Page(render({"title": "Bare", "seed": 3, "seconds": 12.0}, Path())).text
    assert "It is built." in text
    assert "12 seconds" in text


@pytest.mark.parametrize(
    ("list_", "change"),
    [
        ("scores", {"n": 0, "correct": 0, "estimate": None, "low": 0.0, "high": 1.0}),
        ("stages", {"metrics": []}),
        ("stages", {"metrics": [{"step": 1, "loss": None, "learning_rate": 0.0}]}),
        ("examples", {"image": "gone.png"}),
        ("examples", {"answer": ""}),
        ("steps", {"seconds": 0.0}),
    ],
)
def test_a_page_of_results_that_are_there_but_empty(list_, change, tmp_path):
    results = fake_results()
    results[list_] = [row | change for row in results[list_]]
    assert Page(render(results, tmp_path)).open == []


def test_a_model_that_does_not_see_is_not_said_to_see():
    results = fake_results()
    blind = {
        row["type"]: row for row in results["scores"] if row["condition"] == "blank" and row["stage"] == "instruct"
    }
    for row in results["scores"]:
        if row["condition"] == "image":
            row |= {key: blind[row["type"]][key] for key in ("correct", "n", "estimate", "low", "high")}
    results["overall"] = overall(results["scores"])
    text = Page(render(results, Path())).text
    assert "It does not see yet." in text
    assert "It sees." not in text


def test_pictures_are_read_beside_the_page_and_held_by_it(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(PNG)
    results = fake_results()
    results["examples"][0]["image"] = "pictures/0.png"
    write_report(results, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(fake_results(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "report.html"]


def test_a_picture_outside_the_run_is_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link.png").symlink_to(tmp_path / "secret.png")
    for reference in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        with pytest.raises(LapilliError, match="outside"):
            data_uri(reference, tmp_path / "run")


@pytest.mark.parametrize(
    "reference", ["data:text/html;base64,PGI+", "data:image/svg+xml;base64,PGI+", "https://a.b/c.png"]
)
def test_only_pictures_are_shown(reference, tmp_path):
    assert data_uri(reference, tmp_path) is None
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(LapilliError, match="not a PNG"):
        data_uri("page.png", tmp_path)


def test_letters_stand_out_from_their_ground_in_both_themes(html):
    colors = dict(re.findall(r"--(\w+): light-dark\((#\w{6}, #\w{6})\)", html))
    for name, least in (("ink", 7.0), ("quiet", 4.5), ("sight", 4.5), ("glow", 4.5), ("blind", 4.5)):
        for theme in (0, 1):
            for ground in ("ground", "raised", "band"):
                pair = (colors[name].split(", ")[theme], colors[ground].split(", ")[theme])
                assert contrast(*pair) >= least, (name, ground, pair)


def contrast(first, second):
    """The ratio of WCAG 2.2."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_row_of_each_stage_shows_what_is_learned(results, html, page):
    for stage in results["stages"]:
        for token in stage["row"]["tokens"]:
            assert token["text"] in page.text
        assert f"{stage['row']['count']} tokens, {stage['row']['learned']} of them learned" in page.text
    learned = re.findall(r'<span class="token (\w+) is-learned" title="\w+, learned">([^<]*)<', html)
    assert [role for role, _ in learned] == ["answer", "answer"]
    assert "The template “plain”" in page.text
    assert "The template “vicuna_v1”" in page.text


@pytest.mark.parametrize(("head", "words"), [(58_112, "untied from the embedding"), (0, "(tied)"), (None, "")])
def test_the_parameters_that_learn_are_a_sum_that_adds_up(head, words):
    results = fake_results()
    language, stage = results["parts"][2], results["stages"][1]
    language.pop("head")
    if head is not None:
        language["head"] = head
    text = Page(render(results, Path())).text
    assert words in text
    assert ("output head" in text) == (head is not None)
    summed = "41,216 projector + 2,731,904 pebble-lm"
    assert (f"{summed} + 58,112 output head of pebble-lm" in text) == (head == 58_112)
    stage["trainable_parameters"] = 2_773_120  # of projector and language model alone
    assert (summed in Page(render(results, Path())).text) == (not head)


def test_steps_that_take_no_time_are_left_out():
    results = fake_results()
    results["steps"] += [{"name": "A wink", "seconds": 0.04}, {"name": "Breathe", "seconds": 0.05}]
    text = Page(render(results, Path())).text
    assert "A wink" not in text
    assert "Breathe" in text


def test_a_stage_that_logged_nothing_says_so_and_has_no_speed():
    results = fake_results()
    results["stages"][1] |= {"metrics": [], "samples_per_second": None, "steps": 1}
    assert "Stage 2: instruction tuning logged no loss: it took 1 step, fewer" in Page(render(results, Path())).text


@pytest.mark.parametrize("width", [1280, 700, 390])
def test_nothing_scrolls_sideways_and_the_copy_buttons_are_there(browser, results, tmp_path, width):
    results = {**results, "steps": [{"name": "a step whose name is too long for a telephone " * 3, "seconds": 600.0}]}
    write_report(results, tmp_path / "report.html")
    page, said = browser.new_page(viewport={"width": width, "height": 800}), []
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".commands button").count() == len(results["next_commands"])
    page.locator(".commands button").first.click()
    page.wait_for_function("document.querySelector('.commands button').textContent !== 'Copy'")
    assert page.evaluate("String(getSelection())") == results["next_commands"][0]["command"]
    assert said == []
    page.close()


def test_no_model_is_needed():
    heavy = "{'torch', 'transformers', 'numpy'}"
    code = f"import sys, lapilli.report.quickstart.page; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("logged", "words"), [(1, "half-life of 1 step to"), (2, "half-life of 10 steps to")])
def test_the_half_life_is_counted_in_words(logged, words):
    short = fake_results()
    for stage in short["stages"]:
        stage["metrics"] = [{**stage["metrics"][0], "step": 10 * (at + 1)} for at in range(logged)]
    assert words in Page(render(short, Path())).text


def test_one_thing_is_said_in_the_singular():
    single = fake_results()
    single["captions"]["n"] = single["machine"]["cores"] = 1
    single["captions"]["mentioned"]["n"] = 1
    single["examples"] = [single["examples"][0] | {"correct": True}]
    single["stages"][0]["row"]["count"] = 1
    text = Page(render(single, Path())).text
    for words in ("the same 1 caption beside", "of 1 color word against", "those of 1 caption.", ", 1 core ",
                  "1 of 1 answer is right", "1 token, 1 of them learned"):  # fmt: skip
        assert words in text
    assert not re.search(r"\b1 (captions|words|cores|answers|tokens|steps|questions)\b", text)


def test_the_seed_says_that_other_machines_have_other_figures(results, page):
    assert f"Seed {results['seed']} The same figures come again on this machine with as many threads." in page.text
