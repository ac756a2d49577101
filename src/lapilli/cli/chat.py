"""`lapilli chat`: a conversation about pictures, typed or piped in."""

import io
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

import typer
from rich.text import Text

from lapilli.cli.console import note, note_hidden, results
from lapilli.cli.options import MOST, Bits, Device, Dtype, Model
from lapilli.core.errors import LapilliError

if TYPE_CHECKING:
    from PIL.Image import Image

    from lapilli.inference.chat import Chat
    from lapilli.model.pixels import Pixels

_PROMPT = "> "
_BREAK = "↵"  # stands for a line break where an answer has to be one line


def register(app: typer.Typer) -> None:
    """Add `lapilli chat` to the command line."""
    app.command("chat")(_chat)


def _chat(
    model: Model,
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture for the first question; may be repeated.", show_default=False)
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=MOST, help="An answer ends after so many tokens.")] = 256,
    template: Annotated[
        str | None, typer.Option(help="The chat template; the model's own, if not given.", show_default=False)
    ] = None,
    device: Device = "auto",
    dtype: Dtype = None,
    bits: Bits = None,
) -> None:
    """Talk with a model about pictures. A line is a question, or a command: /help lists them.

    With input from a pipe there are no prompts, and every answer is one line of stdout; exit code 1 says that a line
    failed.
    """
    from lapilli.core.placement import Placement
    from lapilli.core.prompt.codec import require_template
    from lapilli.model.hub import require_named

    placement = Placement(device, dtype, bits)
    require_named(model)
    if template is not None:
        require_template(template)
    for path in image or ():
        _open(str(path))
    from lapilli.inference.chat import Chat  # last: what was refused should not have waited for torch
    from lapilli.model.llava import load

    llava = load(model, placement)
    chat = Chat(llava, _open, max_new_tokens, template)
    session = _Session(model, chat, llava.pixels, sys.stdin.isatty() and sys.stdout.isatty())
    for path in image or ():
        session.show_picture(str(path))
    raise typer.Exit(session.run())


def _open(name: str) -> "Image":
    from lapilli.data.pictures import open_picture

    path = Path(name)
    return open_picture(path.parent, path.name)


@final
@dataclass
class _Session:
    """One conversation at the keyboard: `waiting` are the pictures that go with the next question."""

    model: Path
    chat: "Chat"
    pixels: "Pixels"
    is_terminal: bool
    waiting: list[str] = field(default_factory=list)
    saved: set[Path] = field(default_factory=set)

    def run(self) -> int:
        """Obey line after line, until the end of the input or /quit; 1 if a line failed where nobody looks on."""
        failed = False
        _prepare_input()
        while True:
            try:
                self._obey(input(_PROMPT if self.is_terminal else "").strip())
            except EOFError:
                break
            except LapilliError as error:
                failed = True
                note(f"lapilli: {error}")
            except KeyboardInterrupt:
                if not self.is_terminal:
                    raise
                note("")
        return int(failed and not self.is_terminal)

    def _obey(self, line: str) -> None:
        """Do what a line says."""
        if line.startswith("/"):
            word, _, rest = line.partition(" ")
            if word not in _COMMANDS:
                raise LapilliError(f"{word}: no such command; there are {', '.join(_COMMANDS)}")
            _COMMANDS[word].does(self, rest.strip())
        elif line:
            self._ask(line)

    def _ask(self, question: str) -> None:
        before = len(self.chat.sample.turns)
        try:
            answer = self.chat.say(question, self.waiting, _print_piece if self.is_terminal else None)
            _print_end(None if self.is_terminal else answer)
            if not answer:
                note("the model said nothing; the question is taken back")
        except KeyboardInterrupt:
            if not self.is_terminal:
                raise
            is_kept = len(self.chat.sample.turns) > before
            note("\nstopped; " + ("the answer ends there" if is_kept else "the question is taken back"))
        if len(self.chat.sample.turns) > before:
            self.waiting.clear()

    def show_picture(self, name: str) -> None:
        """Let a picture go with the next question."""
        if not name:
            note(f"{len(self.waiting)} pictures no longer go with the next question; /image PATH shows one")
            self.waiting.clear()
            return
        path = _path(name)
        size = _open(str(path)).size
        note(f"{path.name}: {size[0]} x {size[1]} pixels, goes with the next question")
        note_hidden(path.name, self.pixels.framing(size).hidden)
        self.waiting.append(str(path))

    def reset(self, rest: str) -> None:
        """Forget everything."""
        self.chat.reset()
        self.waiting.clear()
        note("forgotten: the next question is the first")

    def save(self, rest: str) -> None:
        """Write what was said as LLaVA's JSON."""
        from lapilli.data.sample import write_samples

        if not rest:
            raise LapilliError("/save: where? write /save FILE.json")
        file, sample = _path(rest), self.chat.sample
        if not sample.turns:
            raise LapilliError("/save: nothing has been said; ask something first")
        if not file.parent.is_dir():
            raise LapilliError(f"{file}: no such folder; make it, or choose another")
        if file.exists() and file not in self.saved:
            raise LapilliError(f"{file}: exists; choose another name")
        folder = Path(os.path.commonpath([Path(name).parent for name in sample.images] or [Path.cwd()]))
        names = tuple(Path(name).relative_to(folder).as_posix() for name in sample.images)
        write_samples(file, [replace(sample, images=names)])
        self.saved.add(file)
        note(f"{file}: {len(sample.turns)} turns; the paths of its {len(names)} pictures start from {folder}")
        note(f"lapilli data show {shlex.quote(str(file))} --row 0 --model {shlex.quote(str(self.model))}")

    def show(self, rest: str) -> None:
        """Print the prompt."""
        from lapilli.data.show import visible

        results.print(Text(visible(self.chat.prompt)), soft_wrap=True)

    def leave(self, rest: str) -> None:
        """As if the input had ended."""
        raise EOFError

    def help(self, rest: str) -> None:
        """List the commands."""
        for word, command in _COMMANDS.items():
            note(f"{word + command.takes:11}  {command.help}")


@dataclass(frozen=True)
class _Command:
    """What can be typed in a line's place: what it takes, what it is for, and what it does with what follows it."""

    takes: str
    help: str
    does: Callable[[_Session, str], None]


_COMMANDS = {
    "/image": _Command(
        " PATH",
        "show a picture with the next question, and others; without PATH, none",
        _Session.show_picture,
    ),
    "/reset": _Command("", "forget the conversation", _Session.reset),
    "/save": _Command(" FILE", "write the conversation as a row of LLaVA's JSON", _Session.save),
    "/show": _Command("", "print the exact prompt so far, which the next question continues", _Session.show),
    "/help": _Command("", "print this", _Session.help),
    "/quit": _Command("", "leave, as does Ctrl-D; Ctrl-C stops an answer", _Session.leave),
}


def _path(typed: str) -> Path:
    """The file that is meant, with or without quotes, at the end of all links: where it lies, a picture is opened."""
    name = typed[1:-1] if typed[0] in "'\"" and typed[-1] == typed[0] else typed
    try:
        return Path(os.path.realpath(Path(name).expanduser()))
    except (OSError, ValueError, RuntimeError) as error:  # a zero byte; the home of nobody
        raise LapilliError(f"{typed!r}: not a usable path: {error}; correct it") from error


def _prepare_input() -> None:
    """Editing and a history on terminals; bytes that are no text become a question mark, not the end."""
    with suppress(ImportError):
        import readline  # noqa: F401  # input() uses it from now on
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


def _print_piece(piece: str) -> None:
    from lapilli.data.show import visible

    # Written at once: rich would keep what Ctrl-C cuts off, and print it later.
    typer.secho("\n".join(map(visible, piece.split("\n"))), fg="green", nl=False)


def _print_end(answer: str | None) -> None:
    """End the line of an answer; print it as one, if it was not told in pieces."""
    from lapilli.data.show import visible

    results.print(Text(_BREAK.join(map(visible, (answer or "").split("\n")))), soft_wrap=True)
