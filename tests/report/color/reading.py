"""Pages as a reader has them: tables as the words of their cells, charts as their marks."""

import html
import re
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class Drawn:
    """A mark of a chart: in which row it is, what it is, what it says, and how far from the left it lies."""

    chart: str
    row: str
    kind: str
    says: str
    left: float


def table(page, *signs):
    """The lines of the first table behind these signs, one after the other in the page; each the words of its cells."""
    for sign in signs:
        page = page.split(sign, 1)[1]
    body = page.split("<tbody>", 1)[1].split("</tbody>")[0]
    lines = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL)] for line in lines]


def words(markup):
    """Text without tags, all blanks alike."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def charts(page):
    """All charts with their titles."""
    drawn = re.findall(r'<svg [^>]*class="chart">.*?</svg>', page, re.DOTALL)
    return [(chart.findtext("title"), chart) for chart in map(ElementTree.fromstring, drawn)]


def marks(page):
    """All marks of all charts that have rows."""
    found = []
    for title, chart in charts(page):
        row = ""
        for one in chart.iter():
            if one.get("class") == "label":
                row = one.text
            elif one.tag == "g" and one.get("class"):
                found.append(Drawn(title, row, one.get("class"), words(one.findtext("title")), _left(one[-1])))
    return found


def _left(shape):
    if shape.tag == "polygon":
        return float(shape.get("points").split(",")[0])
    sides = ("cx", "cx") if shape.tag == "circle" else ("x1", "x2")
    return sum(float(shape.get(side)) for side in sides) / 2
