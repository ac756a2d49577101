"""`lapilli doctor`: what is installed, and whether a model does what it should."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from lapilli.cli.console import print_json, results
from lapilli.core.environment import versions

if TYPE_CHECKING:
    from lapilli.inference.selfcheck import Finding

_EXTRAS = {"bitsandbytes": "models in 8 or 4 bits: pip install 'lapilli[quant]'"}


def register(app: typer.Typer) -> None:
    """Add `lapilli doctor` to the command line."""
    app.command("doctor")(_doctor)


def _doctor(
    model: Annotated[Path | None, typer.Argument(help="Folder of a model to check.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what is installed here and what it runs on; with a model, whether it does what it should.

    The exit code is 1 where a check fails. The checks are made in float32, in which rounding decides no answer.
    """
    from lapilli.core.files import require_folder

    if model is not None:
        require_folder(model)
    from lapilli.model.placement import devices  # after the check: it imports torch

    place: dict[str, Any] = {"versions": versions(), "devices": devices(), "extras": versions(tuple(_EXTRAS))}
    if not as_json:
        _print_place(place)
    findings = _checked(model, shown=not as_json) if model else []
    if as_json:
        print_json({**place, "model": model, "checks": [asdict(finding) for finding in findings]})
    raise typer.Exit(0 if all(finding.holds for finding in findings) else 1)


def _checked(model: Path, shown: bool) -> "list[Finding]":
    from lapilli.core.placement import Placement
    from lapilli.inference.selfcheck import self_check
    from lapilli.model.llava import load

    findings = []
    for finding in self_check(load(model, Placement(dtype="fp32"))):
        findings.append(finding)
        if shown:
            mark = Text("ok     ", "green") if finding.holds else Text("FAILED ", "bold red")
            results.print(Text.assemble(mark, f"{finding.name:<27}", finding.detail), soft_wrap=True)
    return findings


def _print_place(place: dict[str, Any]) -> None:
    table = Table("package", "version", "")
    for package, version in place["versions"].items():
        table.add_row(package, version or "not installed")
    for package, version in place["extras"].items():
        table.add_row(package, version or "not installed", Text(_EXTRAS[package]))
    for device in place["devices"]:
        table.add_row("device", Text(device))
    results.print(table)
