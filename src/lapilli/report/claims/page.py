"""The page `claims.html`: verdicts on claims in one self-contained file."""

from pathlib import Path

from lapilli.core.files import write_atomically
from lapilli.core.plain import plain
from lapilli.report.claims import depths
from lapilli.report.claims.chart import strip
from lapilli.report.claims.story import VERDICTS, Result, bounds, figure, headline, with_verdict
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style


def write_page(result: Result, out: Path) -> None:
    """Write the page of results/claims.json to `out`. Raises LapilliError when it cannot be written."""
    write_atomically(out, render(result))


def render(result: Result) -> str:
    """Return the page as text. All text of the result is escaped; only this package's drawings are markup."""
    result = plain(result)
    templates = environment("claims", (figures.counted,))
    groups = [
        (title, [_described(claim) for claim in with_verdict(result, verdict)])
        for verdict, title in VERDICTS.items()
        if with_verdict(result, verdict)
    ]
    return templates.get_template("claims.html.jinja").render(
        style=style(templates, "page.css", "line_chart.css", "charts.css", "claims.css"),
        headline=headline(result),
        result=result,
        groups=groups,
        depths=depths.described(result["flow"]),
    )


def _described(claim: Result) -> dict[str, object]:
    """A claim with what is said and drawn of it."""
    drawn = "" if claim["verdict"] == "untested" else strip(claim)
    sentences = {name: claim[name][:1].upper() + claim[name][1:] for name in ("measure", "source")}
    return {**claim, **sentences, "figure": figure(claim), "bounds": bounds(claim), "strip": drawn}
