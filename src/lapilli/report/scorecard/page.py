"""The page `scorecard.html`: one scorecard, or those of two models beside each other, as one file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lapilli.core.files import write_atomically
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, policy, style
from lapilli.report.scorecard import agreement, front, maps, panels, tables, words
from lapilli.report.scorecard.card import FAMILIES, Card, read_card

Scorecard = Mapping[str, Any]

_UNFOLDED = 3  # examples that are not folded

_FILTERS: tuple[Callable[..., str], ...] = (
    words.plain,
    words.interval,
    words.with_interval,
    words.span,
    words.signed,
    words.passes,
    figures.whole,
    figures.percent,
)


def write_page(scorecard: Scorecard | Sequence[Scorecard], out: Path) -> None:
    """Write the page of one scorecard, or of several models' in their order, to `out`.

    Pictures that are no `data:` URIs are read relative to the folder of `out`. Raises LapilliError when one lies
    outside it or the page cannot be written.
    """
    write_atomically(out, render(scorecard, out.parent))


def render(scorecard: Scorecard | Sequence[Scorecard], folder: Path = Path()) -> str:
    """Return the page as text: it loads nothing else, and all text of the scorecards is escaped.

    The page leaves out whatever a scorecard leaves out. Raises LapilliError as `write_page` does.
    """
    scorecards = [scorecard] if isinstance(scorecard, Mapping) else list(scorecard)
    cards = [read_card(raw, index) for index, raw in enumerate(scorecards)]
    templates = environment("scorecard/templates", _FILTERS)
    views = [_view(card, folder) for card in cards]
    script = templates.get_template("scorecard.js").render()
    return templates.get_template("scorecard.html.jinja").render(
        title=" and ".join(card.model for card in cards),
        style=style(templates, "page.css", "scorecard.css") + _switches(cards, views) + _pictures(views),
        script=Markup(script), policy=policy(script),
        views=views, between=_between(cards), families=FAMILIES, key=front.key, describe=agreement.describe,
        older=words.OLDER,
    )  # fmt: skip


def _view(card: Card, folder: Path) -> dict[str, Any]:
    """The values that the templates show of one scorecard."""
    lost = words.losses(card)
    return {
        "card": card, "best": card.best, "strongest": words.strongest(card),
        "rivals": words.rivals(card), "headline": words.headline(card),
        "losses": lost, "price": words.price(card, lost or []),
        "lead": front.lead_chart(card, lost) if lost else None,
        "plots": [(name, front.pareto(card, name, front.WIDE), front.pareto(card, name, front.NARROW))
                  for name, _ in card.operators if front.points_of(card, name)],
        "table": tables.table(card), "pairs": [(name, tables.pairs(card, name)) for name, _ in card.operators],
        "agreement": agreement.agreement(card),
        "curves": [(name, panels.panels(card, name)) for name, _ in card.operators],
        "sanity": tables.sanity(card), "examples": maps.examples(card, folder),
        "unfolded": _UNFOLDED,
        "operator_index": {name: index for index, (name, _) in enumerate(card.operators)},
        "by_operator": _by_operator([loss for loss in lost or [] if loss.significant]),
        "even": _by_operator([loss for loss in lost or [] if not loss.significant]),
        "tested": bool(words.against_random(card)),
        "has_front": bool(card.raw.get("front")),
        "has_own": any(name in method.operators for method in card.methods for name, _ in card.operators),
        "data": card.raw.get("data"), "counts": card.raw.get("counts") or {}, "narrow": _narrow(card),
        "settings": _settings(card),
    }  # fmt: skip


def _narrow(card: Card) -> str:
    return words.narrow((card.raw.get("counts") or {}).get("kept"), card.best.gap.n if card.best else None)


def _by_operator(lost: Sequence[words.Loss]) -> list[tuple[str, list[words.Loss]]]:
    names = dict.fromkeys(loss.operator for loss in lost)
    return [(name, [loss for loss in lost if loss.operator == name]) for name in names]


def _settings(card: Card) -> dict[str, Any]:
    keys = ("seed", "points", "target", "filter", "primary", "share", "sanity_n", "cost_n", "versions")
    return dict.fromkeys(keys) | dict(card.settings)


def _between(cards: Sequence[Card]) -> dict[str, Any] | None:
    if len(cards) < 2:
        return None
    first, second = cards[:2]
    tau = agreement.between_models(first, second)
    plots = [front.between_models(first, second, size) for size in (front.SQUARE, front.NARROW)]
    return {"tau": tau, "plots": plots, "cards": cards[:2]} if plots[0] else None


def _switches(cards: Sequence[Card], views: Sequence[Mapping[str, Any]]) -> Markup:
    """The rules that show what belongs to the chosen operator, or kind of figure, and hide what belongs to another."""
    under = max((len(card.operators) for card in cards), default=0)
    blocks = max((len(view["table"].blocks) for view in views), default=0)
    rules = [
        f'.under:has(.{switch} [value="{i}"]:checked) [data-{name}]:not([data-{name}="{i}"]){{display:none}}'
        for switch, name, count in (("operators", "under", under), ("blocks", "block", blocks))
        for i in range(count)
    ]
    return Markup("\n" + "\n".join(rules))


def _pictures(views: Sequence[Mapping[str, Any]]) -> Markup:
    """The rules with every example's picture, once for all maps over it."""
    return Markup("\n").join([Markup(""), *(example.style for view in views for example in view["examples"])])
