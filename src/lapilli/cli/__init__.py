"""The command line: it parses, calls the rooms below, and prints.

Each noun is one file of this folder with a function `register(app)` that adds its commands. Those files import the
rooms inside their commands, so that `lapilli --help` never waits for torch.
"""

import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from lapilli import __version__
from lapilli.cli.console import note, prepare_streams, say
from lapilli.cli.options import require_usable
from lapilli.core.errors import LapilliError, LapilliWarning
from lapilli.core.terminal import printable
from lapilli.core.trial import tokenizing

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_LONGEST = 2_000  # characters of a message

NOUNS = (
    "quickstart", "ask", "chat", "explain", "scorecard", "study", "compare", "patch", "claims", "data", "model",
    "train", "report", "evaluate", "score", "judge", "doctor",
)  # fmt: skip
"""The files of commands, in the order of the help page."""

INSIDE = {
    "quickstart",
    "ask",
    "chat",
    "explain",
    "scorecard",
    "study",
    "compare",
    "patch",
    "claims",
    "model",
    "train",
    "eval",
}
"""The commands that read what is no public interface of another package; they say so where its release is untested."""

app = typer.Typer(
    name="lapilli",
    help="Build a LLaVA, and see how it learned to see.",
    epilog="Start here: lapilli quickstart",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@dataclass
class Settings:
    """What the options before the command say, and what is installed."""

    debug: bool = False
    untested: str = ""  # about a package whose release has not been tested


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"lapilli {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    context.obj.debug = debug
    if context.invoked_subcommand in INSIDE:
        context.obj.untested = _untested()
    if context.invoked_subcommand is None:
        say(context.get_help())


def _untested() -> str:
    """Say which packages are not tested. What reads releases is imported here: the help page need not wait for it."""
    from lapilli.core.dependencies import untested

    if line := untested():
        note(f"lapilli: {line}")
    return line


def _missing(error: ImportError) -> str:
    from lapilli.core.dependencies import missing

    return missing(error)


def register_nouns() -> None:
    """Add the commands of every noun's file."""
    for noun in NOUNS:
        import_module(f"{__name__}.{noun}").register(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (that of the process, if none is given) and return its exit code.

    0 done, 1 failed, 2 used wrongly, 130 interrupted. An error is one line on stderr; `--debug` adds the traceback.
    """
    settings = Settings()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        require_usable(arguments)
        with tokenizing(), _warnings_noted():
            code = app(arguments, prog_name="lapilli", standalone_mode=False, obj=settings)
    except LapilliError as error:
        return _fail(str(error), error.exit_code, settings)
    except TyperException as error:
        return _fail(error.format_message(), error.exit_code, settings)
    except typer.Abort:
        return _fail("aborted", 1, settings)
    except ImportError as error:
        return _fail(_missing(error), 1, settings)
    except MemoryError as error:
        return _fail(f"out of memory{f': {error}' if str(error) else ''}; give it less, or more memory", 1, settings)
    except Exception as error:  # noqa: BLE001 - the border of the process: nothing above could handle it
        if isinstance(error, OSError) and error.errno and error.filename is not None:  # a name too long, no permission
            return _fail(f"{error}; check that path", 1, settings)
        hint = "" if settings.debug else " (lapilli --debug ... shows where)"
        return _fail(f"{type(error).__name__}: {error}{hint}", 1, settings)
    if code == INTERRUPTED:
        return _fail("interrupted", INTERRUPTED, settings)
    return code if isinstance(code, int) else 0


@contextmanager
def _warnings_noted() -> Iterator[None]:
    """A block in which this package's warnings are a line on stderr each, without the place in its code."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, LapilliWarning):
                note(f"lapilli: {message}")
            else:
                others(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _fail(message: str, exit_code: int, settings: Settings) -> int:
    if settings.debug:
        note(traceback.format_exc().rstrip())
    if settings.untested and exit_code == 1:
        message = f"{message} ({settings.untested})"
    if message:  # empty when typer has already printed a help page
        note(f"lapilli: {_one_line(message)}")
    return exit_code


def _one_line(message: str) -> str:
    """A message as one line of some length: it may quote what somebody else wrote."""
    line = printable(" ".join(message.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"


def main() -> NoReturn:
    """The `lapilli` program."""
    prepare_streams()
    sys.exit(run())


register_nouns()
