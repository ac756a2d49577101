"""What all pages are made with: templates whose text is escaped, and in which a name that is not there is an error."""

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def environment(room: str, filters: Iterable[Callable[..., Any]] = ()) -> Environment:
    """The templates of a folder of `report/`, then those that all pages share; filters go by their functions' names."""
    rooms = [PackageLoader("lapilli.report", name) for name in (room, "kit")]
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


def policy(script: str, styles: str = "'unsafe-inline'", pictures: str = "data:") -> str:
    """The content security policy of a page: this script alone runs, and nothing is fetched or sent.

    `styles` and `pictures` are the policy's sources of these; `digest` gives that of one style sheet.
    """
    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {styles}; img-src {pictures}; "
        "base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """A script or a style sheet as a source of a policy, by its SHA-256."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
