"""The README: its program runs, its commands and pages exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from lapilli.cli import app
from lapilli.data.scenes.dataset import write_scenes
from lapilli.model.llava import join, save

ROOT = Path(__file__).parents[2]
PAGES = {
    page.name: page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
COMMANDS = [
    pytest.param(command, id=f"{name}-{number}")
    for name, text in PAGES.items()
    for number, command in enumerate(re.findall(r"^    (?:\.venv/bin/)?(lapilli .*)$", text, re.MULTILINE))
]


def test_the_program_runs_on_what_the_quickstart_leaves(tmp_path, monkeypatch, capsys):
    """The parts that come with the package, joined and not trained, in the place of the trained model."""
    quickstart = tmp_path / "runs/quickstart"
    write_scenes(quickstart / "data/held_out", 6, "held_out", 0, lambda done: None)
    save(join("pebble-vision", "pebble-lm", seed=0), quickstart / "model")
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert program.count("\n") <= 9
    exec(program, {})
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert (tmp_path / "why-too/explanation.html").is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_on_a_page_is_one_that_there_is(command):
    """Its name and its options; what it does is tested elsewhere."""
    words = shlex.split(command.partition(" > ")[0].partition(" | ")[0], comments=True)[1:]
    group = typer.main.get_command(app)
    while hasattr(group, "commands") and words and not words[0].startswith("-"):
        assert words[0] in group.commands, command
        group = group.commands[words.pop(0)]
    known = {name for parameter in group.params for name in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= known | {"--help", "--version", "--debug"}, command


@pytest.mark.parametrize("name", PAGES)
def test_a_link_leads_to_a_file_and_a_heading(name):
    folder = ROOT if name == "README.md" else ROOT / "docs"
    text = re.sub(r"`[^`\n]*`", "", PAGES[name])  # what is quoted is no link
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in (one for one in targets if not one.startswith("http")):
        path, _, anchor = target.partition("#")
        page = folder / path if path else folder / name
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                target
            )
