import pytest
from tests.report.scorecard.fake import fake_scorecard

from lapilli.report.scorecard.page import write_page


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Pages by name: one model, two of them, one with fine cells, and one that holds next to nothing."""
    folder = tmp_path_factory.mktemp("scorecard")
    first, second = fake_scorecard(), fake_scorecard(1, "fine cells", (24, 24))
    bare = {"methods": [{"name": "a"}, {"name": "b"}], "scores": first["scores"][:2]}
    given = {"one": first, "two": [first, second], "fine": second, "bare": bare}
    for name, scorecard in given.items():
        write_page(scorecard, folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in given}


@pytest.fixture
def show(browser, pages):
    """Open a page offline; it fails the test on any error in the console and any request but for the file."""
    opened, wrong = [], []

    def visit(name, **context):
        context = browser.new_context(offline=True, **{"viewport": {"width": 1280, "height": 900}} | context)
        opened.append(context)
        page = context.new_page()
        address = pages[name].as_uri()
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((address, "data:")) else wrong.append(asked.url))
        page.goto(address)
        return page

    yield visit
    for context in opened:
        context.close()
    assert wrong == []
