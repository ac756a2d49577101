"""What all pages are made with: templates whose text is escaped, and in which a name that is not there is an error."""

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def environment(room: str = "templates", filters: Iterable[Callable[..., Any]] = ()) -> Environment:
    """Of the templates of a room of this package, then those that all share; filters go by their functions' names."""
    rooms = [PackageLoader("lapilli.report", name) for name in (room, "templates")]
    made = Environment(
        loader=ChoiceLoader(rooms),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({said.__name__: said for said in filters})
    return made


def style(environment: Environment, *names: str) -> Markup:
    """Style sheets, one after the other."""
    return Markup("\n".join(environment.get_template(name).render() for name in names))


def policy(script: str) -> str:
    """The content security policy of a page: this script alone runs, and nothing is fetched or sent."""
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{hashed}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
