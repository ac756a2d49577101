"""`lapilli doctor`: what is installed, and whether it and a model do what they should."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from lapilli.cli.console import print_json, results
from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.finding import Finding

if TYPE_CHECKING:
    from lapilli.core.dependencies import Dependency

_EXTRAS = {
    "bitsandbytes": "models in 8 or 4 bits: pip install 'lapilli[quant]'",
    "gguf": "language models in GGUF files: pip install 'lapilli[gguf]'",
}


def register(app: typer.Typer) -> None:
    """Add `lapilli doctor` to the command line."""
    app.command("doctor")(_doctor)


def _doctor(
    model: Annotated[Path | None, typer.Argument(help="Folder or hub id of a model.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what is installed, and try it: a LLaVA of two layers is joined, answers, is explained, trained and converted.

    With a model, say whether that does what it should too. The exit code is 1 where a check fails. Models are checked
    in float32, in which rounding decides no answer.
    """
    from lapilli.core.dependencies import dependencies
    from lapilli.core.environment import versions

    with suppress(ImportError):  # which is a finding, below
        from lapilli.model.hub import require_named

        if model is not None:
            require_named(model)
    known, extras = dependencies(), versions(tuple(_EXTRAS))
    if not as_json:
        _print_packages(known, extras)
    installation = _shown("this installation", _installation(), not as_json)
    sound = all(finding.holds for finding in installation)
    checks = _shown(str(model), _checks(model), not as_json) if model and sound else []
    if as_json:
        findings_by_kind = {"installation": installation, "checks": checks}
        listed = {name: [asdict(finding) for finding in some] for name, some in findings_by_kind.items()}
        print_json({"dependencies": [_described(one) for one in known], "extras": extras, "model": model, **listed})
    raise typer.Exit(0 if all(finding.holds for finding in (*installation, *checks)) else 1)


def _installation() -> Iterator[Finding]:
    """What it runs on, and every step of the way; a package that lacks what is imported is a finding, not an error."""
    try:
        from lapilli.model.placement import devices
        from lapilli.selftest.installation import check_installation
    except ImportError as error:
        from lapilli.core.dependencies import missing

        yield Finding("its packages fit", False, missing(error))
        return
    yield Finding("devices", True, "; ".join(devices()))
    yield from check_installation()


def _checks(model: Path) -> Iterator[Finding]:
    """What does not let itself be loaded is a finding as well, and the only one."""
    from lapilli.core.placement import Placement
    from lapilli.inference.selfcheck import self_check
    from lapilli.model.llava import load

    try:
        llava = load(model, Placement(dtype="fp32"))
    except UsageError:
        raise
    except LapilliError as error:
        yield Finding("it can be loaded", False, str(error))
        return
    yield from self_check(llava)


def _shown(what: str, findings: Iterable[Finding], shown: bool) -> list[Finding]:
    """The findings, printed as they come if they are to be shown."""
    made: list[Finding] = []
    for finding in findings:
        if shown and not made:
            results.print(Text(what, "bold"), soft_wrap=True)
        made.append(finding)
        if shown:
            mark = Text("ok     ", "green") if finding.holds else Text("FAILED ", "bold red")
            results.print(Text.assemble(mark, f"{finding.name:<27}", finding.detail), soft_wrap=True)
    return made


def _described(one: "Dependency") -> dict[str, Any]:
    return {**asdict(one), "verdict": one.verdict}


def _print_packages(known: Iterable["Dependency"], extras: dict[str, str | None]) -> None:
    table = Table("package", "installed", "tested", "")
    for one in known:
        tested = one.oldest if one.oldest == one.newest else f"{one.oldest} to {one.newest}"
        mark = Text("") if one.is_tested else Text(f"{one.verdict}; if anything fails: {one.remedy}", "yellow")
        table.add_row(one.name, one.installed or "not installed", tested, mark)
    for package, version in extras.items():
        table.add_row(package, version or "not installed", "", Text(_EXTRAS[package]))
    results.print(table)
