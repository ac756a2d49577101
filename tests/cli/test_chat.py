"""`lapilli chat`: scripts through a pipe, and a person at a terminal; of either kind, one as a real process."""

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from tests.parts import joined, part, picture

from lapilli.cli import run
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample, Turn, read_samples
from lapilli.inference.answer import answer
from lapilli.model.llava import join, load, save
from lapilli.model.reading import quiet

PROGRAM = Path(sys.executable).with_name("lapilli")
PATIENCE = 120  # seconds


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "some pictures"
    (folder / "more").mkdir(parents=True)
    picture(1, 40, 30).save(folder / "one.png")
    picture(2, 30, 60).save(folder / "more" / "two.png")
    return folder


@pytest.fixture
def piped(monkeypatch, capsys):
    """Run `lapilli chat` with these lines as its input; its exit code, stdout and stderr."""

    def chat(lines, *arguments, model=None):
        typed = lines if isinstance(lines, bytes) else "".join(line + "\n" for line in lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
        model = model or joined("clip", "llama")
        code = run([*map(str, ["chat", model, "--max-new-tokens", 6, *arguments])])
        return code, *capsys.readouterr()

    return chat


def _process(lines):
    """The same in a process of its own."""
    command = [PROGRAM, "chat", joined("clip", "llama"), "--max-new-tokens", "6"]
    typed = "".join(line + "\n" for line in lines)
    done = subprocess.run([*map(str, command)], input=typed, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


def _expected(turns, images, folder):
    """What `answer` gives to every question, the answers before it being its own; a line each."""
    llava, said, shown = load(joined("clip", "llama")), [], []
    for text, names in zip(turns, images, strict=True):
        shown += names
        said.append(Turn("user", "<image>\n" * len(names) + text))
        (one,) = answer(llava, [Sample("s", tuple(shown), tuple(said))], folder, 6)
        said.append(Turn("assistant", one.text))
    return said


def _line(text):
    """As it is printed: one line, with nothing that a terminal obeys."""
    return "↵".join(
        "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
        for line in text.split("\n")
    )


def test_a_script_through_a_pipe(pictures, tmp_path):
    """Answers on stdout, a line each; what was saved is read back and shown by the command that is printed."""
    file = tmp_path / "a chat.json"
    script = [f"/image {pictures}/one.png", "What color is it?", "", f"/image '{pictures}/more/two.png'", "And this?"]
    code, out, err = _process([*script, "Why?", f"/save {file}", "/quit", "never asked"])
    turns = _expected(["What color is it?", "And this?", "Why?"], [["one.png"], ["more/two.png"], []], pictures)
    assert code == 0
    assert out == "".join(_line(turn.text) + "\n" for turn in turns[1::2])
    assert read_samples(file) == [Sample("chat", ("one.png", "more/two.png"), tuple(turns))]
    assert "one.png: 40 x 30 pixels" in err and "two.png: 30 x 60 pixels" in err
    assert f"6 turns; the paths of its 2 pictures start from {pictures}" in err
    command = next(line for line in err.splitlines() if line.startswith("lapilli data show"))
    shown = subprocess.run(["sh", "-c", f"{PROGRAM.parent}/{command} --json"], capture_output=True, timeout=PATIENCE)
    assert json.loads(shown.stdout)["roles"].count("image") == 18
    validated = subprocess.run([PROGRAM, "data", "validate", file, "--images", pictures], timeout=PATIENCE)
    assert validated.returncode == 0


def test_pictures_shown_by_mistake_can_be_taken_back(piped, pictures, tmp_path):
    file = tmp_path / "chat.json"
    lines = [f"/image {pictures}/one.png", f"/image {pictures}/one.png", "/image", "Why?", f"/save {file}"]
    code, _, err = piped(lines)
    assert code == 0
    assert "2 pictures no longer go with the next question" in err
    assert read_samples(file)[0].images == ()
    code, _, err = piped(["Why?", f"/save {tmp_path}/nowhere/new.json"])
    assert (code, (tmp_path / "nowhere").exists()) == (1, False)
    assert "no such folder; make it, or choose another" in err


def test_errors_are_a_line_each_and_the_session_goes_on(piped, pictures, tmp_path):
    (tmp_path / "there.json").write_text("[]")
    faulty = {
        f"/save {tmp_path}/nowhere/new.json": "nothing has been said",
        "/image nowhere.png": "nowhere.png: no such file",
        "/image a\0b": "not a usable path",
        "/image ~nobody-of-that-name/a.png": "not a usable path",
        "/save": "/save: where? write /save FILE.json",
        f"/save {tmp_path}/new.json": "nothing has been said",
        "very " * 200: "but the language model reads 256; begin anew (/reset",
        "Is <image> red?": "1 <image> in the questions, 0 images",
        "/frame": "/frame: no such command; there are /image, /reset, /save, /show, /help, /quit",
    }
    more = {f"/save {tmp_path}/there.json": "there.json: exists; choose another name"}
    more[f"/save {tmp_path}/chat.txt"] = "chat.txt: ending '.txt'"
    code, out, err = piped([*faulty, "Why?", *more])
    assert code == 1
    assert out == _line(_expected(["Why?"], [[]], pictures)[1].text) + "\n"
    lines = err.splitlines()
    assert len(lines) == len(faulty) + len(more)
    for line, message in zip(lines, [*faulty.values(), *more.values()], strict=True):
        assert line.startswith("lapilli: ")
        assert message in line
    assert (tmp_path / "there.json").read_text() == "[]"
    assert not (tmp_path / "new.json").exists()


def test_reset_show_and_help(piped, pictures):
    code, out, err = piped(["/show", f"/image {pictures}/one.png", "Why?", "/show", "/reset", "Why?", "/help"])
    assert code == 0
    opening, asked = out.split("\n", 1)[0], out.split("USER: ")[1]
    assert opening.startswith("<s>A chat between a curious user")
    assert opening.endswith("user's questions.")
    assert asked.startswith("<image>↵\nWhy? ASSISTANT: ")
    assert asked.splitlines()[1].endswith("</s>")
    assert out.splitlines()[-1] == _line(_expected(["Why?"], [[]], pictures)[1].text)
    for command in ("/image PATH", "/reset", "/save FILE", "/show", "/help", "/quit"):
        assert command in err


def test_pictures_from_the_start_and_bytes_that_are_no_text(piped, pictures):
    code, out, _ = piped(b"What \xff\xfe?", "--image", f"{pictures}/one.png", "--image", f"{pictures}/more/two.png")
    turns = _expected(["What \ufffd\ufffd?"], [["one.png", "more/two.png"]], pictures)
    assert (code, out) == (0, _line(turns[1].text) + "\n")


def test_what_cannot_begin(pictures, capsys):
    model = str(joined("clip", "llama"))
    for arguments, code, message in [
        (["nowhere"], 2, "nowhere: no such folder"),
        ([model, "--image", "nowhere.png"], 1, "no such file"),
        ([model, "--template", "alpaca"], 2, "template 'alpaca': unknown"),
        ([model, "--max-new-tokens", "0"], 2, "greater than or equal to 1"),
        ([model, "--dtype", "fp64"], 2, "dtype 'fp64': unknown"),
        ([model, "--device", "tpu"], 2, "device 'tpu': unknown"),
    ]:
        assert run(["chat", *arguments]) == code
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert message in said.err


def test_what_a_crop_hides_is_said(piped, tmp_path, capsys):
    """A checkpoint that crops; a wide picture loses its sides, in ask and in chat."""
    llava = load(joined("clip", "llama"))
    llava.processor.image_processor.do_pad = False
    save(llava, tmp_path / "cropping")
    picture(1, 40, 30).save(tmp_path / "wide.png")
    note = "wide.png: 25 % of the picture is not seen; the model's crop leaves it out"
    code, _, err = piped([f"/image {tmp_path}/wide.png"], model=tmp_path / "cropping")
    assert code == 0
    assert err.splitlines()[1] == note
    assert run(["ask", str(tmp_path / "cropping"), str(tmp_path / "wide.png"), "Why?", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["hidden"] == pytest.approx(0.25)
    assert said.err == note + "\n"


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A model with room for an answer that takes minutes."""
    folder = tmp_path_factory.mktemp("patient")
    with quiet():
        llava = join(part("clip"), part("llama"))
    llava.model.config.text_config.max_position_embeddings = 100_000
    llava.model.lm_head.weight.data[llava.stop_id] = 0  # of hundreds of logits some are above that
    save(llava, folder / "model")
    return folder / "model"


def _interruptible():
    """Whoever runs the tests in the background ignores Ctrl-C, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interruptible_at_its_terminal():
    _interruptible()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def _terminal(*arguments):
    """The program on a terminal of its own: a function that types, one that waits for a text, and the process."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*map(str, [PROGRAM, "chat", *arguments])],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_interruptible_at_its_terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "400"},
    )
    os.close(theirs)
    seen = bytearray()

    def wait_for(pattern):
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern.encode(), seen)):
            assert time.monotonic() < end, bytes(seen)
            if select.select([ours], [], [], 1)[0]:
                seen.extend(os.read(ours, 4096))
        text = bytes(seen[: found.end()]).decode(errors="replace")
        del seen[: found.end()]
        return text

    try:
        yield lambda text: os.write(ours, text.encode()), wait_for, process
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_person_at_a_terminal(patient, pictures, tmp_path):
    """Ctrl-C ends an answer and not the session, clears a line at the prompt, and Ctrl-D leaves."""
    file = tmp_path / "chat.json"
    with _terminal(patient, "--max-new-tokens", "50000", "--image", pictures / "one.png") as (write, wait_for, process):
        wait_for("one.png: 40 x 30 pixels")
        wait_for("> ")
        write("What color is it?\n")
        wait_for(r"\x1b\[32m.")  # the answer has begun, in green
        time.sleep(0.5)
        write("\x03")
        wait_for("stopped; the answer ends there")
        wait_for("> ")
        time.sleep(0.5)  # a Ctrl-C between the prompt and the first look at the keyboard waits for the next key
        write("half a li\x03")
        wait_for("> ")
        write("/show\n")
        assert "half" not in wait_for("</s>").split("USER: ", 1)[1]
        wait_for("> ")
        write(f"/save {file}\n")
        wait_for("lapilli data show")
        wait_for("> ")
        write("\x1b[A\x1b[A\n")  # two lines up in the history: /show
        wait_for("curious user")
        wait_for("> ")
        write("\x04")
        assert process.wait(PATIENCE) == 0
    (sample,) = read_samples(file)
    assert sample.images == ("one.png",)
    assert [turn.role for turn in sample.turns] == ["user", "assistant"]
    whole = answer(load(patient), [sample], lambda name: open_picture(pictures, name), 60)[0].text
    assert whole[:20].startswith(sample.turns[1].text[:20])


def test_an_interrupted_script_ends(patient):
    """Nobody is there to go on with it."""
    command = [PROGRAM, "chat", patient, "--max-new-tokens", "50000"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    it = subprocess.Popen([*map(str, command)], **pipes, preexec_fn=_interruptible)
    try:
        it.stdin.write(b"/show\nWhy?\nWhy?\n")
        it.stdin.close()
        assert it.stdout.readline().startswith(b"<s>A chat")
        time.sleep(1)
        it.send_signal(2)
        assert it.wait(PATIENCE) == 130
        assert it.stderr.read().count(b"\n") == 1
    finally:
        it.kill()
        it.wait()


def test_a_picture_is_opened_where_its_link_leads(piped, pictures, tmp_path):
    (tmp_path / "link.png").symlink_to(pictures / "one.png")
    Image.open(tmp_path / "link.png").close()
    code, _, err = piped([f"/image {tmp_path}/link.png", "Why?", f"/save {tmp_path}/chat.jsonl"])
    assert code == 0
    assert read_samples(tmp_path / "chat.jsonl")[0].images == ("one.png",)
    assert str(pictures) in err
