import functools

import pytest
from tests.report.explanation.fake_bundle import HOSTILE, SMALL, Plan, write_bundle

from lapilli.report.explanation.page import write_page


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The page of a plan, written once per session."""

    @functools.cache
    def write(plan):
        return write_page(write_bundle(tmp_path_factory.mktemp("explanation"), plan))

    return write


PLANS = {
    "full": Plan(),
    "small": SMALL,
    "hostile": HOSTILE,
    "padded": Plan(fit="padded", verdict="no visual dependence"),
    "untested": Plan(verdict="not tested"),
}


@pytest.fixture
def show(browser, written):
    """Open a plan's page offline; it fails the test on any error in the console and any request but for the file."""
    opened, wrong = [], []

    def visit(name, hash="", source=None, **context):
        context = browser.new_context(offline=True, **{"viewport": {"width": 1280, "height": 720}} | context)
        opened.append(context)
        page = context.new_page()
        address = source or written(PLANS[name]).as_uri()
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else wrong.append(asked.url),
        )
        page.goto(address + hash)
        if source is None:
            page.wait_for_selector(".explain[data-state=ready]")
        return page

    yield visit
    for context in opened:
        context.close()
    assert wrong == []
