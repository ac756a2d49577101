"""The page `explanation.html`: one explained answer in one self-contained file."""

import base64
import gzip
import html
import json
import secrets
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.core.files import write_atomically
from lapilli.report.explanation import bundle
from lapilli.report.kit.environment import digest, environment, policy
from lapilli.report.kit.pictures import data_uri, picture_uri

_LARGEST_SIDE = 1280  # pixels: twice what the page shows on a screen of double density, nearly
_KEPT_BYTES = 500_000  # a smaller file is shown as it is


def write_page(folder: Path) -> Path:
    """Write `explanation.html` into an explanation's folder and return its path.

    Raises LapilliError when the folder does not hold a sound explanation or the page cannot be written.
    """
    out = folder / "explanation.html"
    write_atomically(out, render(folder))
    return out


def render(folder: Path) -> str:
    """Return the page as text: it loads nothing else, and all text of the explanation is escaped.

    Raises LapilliError when the folder does not hold a sound explanation.
    """
    explanation, arrays = bundle.read(folder)
    bundle.check(explanation, arrays, str(folder))
    script = f"{_own('explain.js')}\n{_own('boot.js')}"
    style = _own("explain.css")
    return environment("explanation").get_template("page.html.jinja").render(
        title=f"{explanation['answer']['text'].strip()[:60]} · lapilli",
        policy=policy(script, digest(style), "data: blob:"),
        script=Markup(script),
        style=Markup(style),
        explanation=Markup(_json_in_html(_carried(explanation, folder))),
        arrays=base64.b64encode(gzip.compress((folder / bundle.ARRAYS).read_bytes(), mtime=0)).decode(),
    )  # fmt: skip


def frame(page: str, height: int = 900) -> str:
    """Return the page as a sandboxed frame for a notebook. It runs its own script only and cannot read the notebook.

    `height` in pixels applies until the page reports its own; where a notebook drops the script that receives it, the
    frame scrolls inside.
    """
    name = f"lapilli-{secrets.token_hex(6)}"  # outputs of one notebook must not share a name
    listen = (
        f'(frame => addEventListener("message", event => {{ if (event.source === frame.contentWindow && '
        f'event.data?.lapilliHeight > 0) frame.style.height = event.data.lapilliHeight + "px"; }}))'
        f'(document.getElementById("{name}"))'
    )
    return (
        f'<iframe id="{name}" title="Explanation of an answer" sandbox="allow-scripts" '
        f'style="width:100%;height:{height:d}px;border:0" srcdoc="{html.escape(page)}"></iframe>'
        f"<script>{listen}</script>"
    )


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json_in_html(value: Any) -> str:
    """The value as JSON that no HTML parser reads as the end of its element or the start of a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _carried(explanation: dict[str, Any], folder: Path) -> dict[str, Any]:
    image = explanation["image"]
    return {
        "explanation": explanation,
        "image": _picture(image["file"], folder),
        "view": _picture(image["view"]["file"], folder),
    }


def _picture(name: str, folder: Path) -> str:
    """The picture as a data URI, made smaller where its file is large."""
    uri = data_uri(name, folder)
    if uri is None:
        raise LapilliError(f"{folder / name}: the picture is missing; explain the answer again")
    if (folder / name).stat().st_size <= _KEPT_BYTES:
        return uri
    with Image.open(folder / name) as picture:
        return picture_uri(picture, _LARGEST_SIDE, 88)
