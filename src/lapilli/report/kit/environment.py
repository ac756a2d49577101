"""The templates of all pages: text is escaped, and an undefined name is an error."""

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def environment(folder: str, filters: Iterable[Callable[..., Any]] = ()) -> Environment:
    """Return the templates of a folder of `report/` and the shared ones; filters have their functions' names."""
    loaders = [PackageLoader("lapilli.report", name) for name in (folder, "kit")]
    templates = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update({filter_.__name__: filter_ for filter_ in filters})
    return templates


def style(environment: Environment, *names: str) -> Markup:
    """Return the style sheets of these names, one after the other."""
    return Markup("\n".join(environment.get_template(name).render() for name in names))


def policy(script: str, styles: str = "'unsafe-inline'", pictures: str = "data:") -> str:
    """Return the content security policy of a page: this script alone runs, and nothing is fetched or sent.

    `styles` and `pictures` are the policy's sources of these; `digest` returns the source for one style sheet.
    """
    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {styles}; img-src {pictures}; "
        "base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """Return a script or a style sheet as a source of a policy, by its SHA-256."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
