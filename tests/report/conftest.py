"""The browser in which the tests of pages read them."""

import shutil

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.fixture(scope="session")
def browser():
    """One browser for all tests: it takes long to start, and playwright allows no second one beside it."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine; install one to test the page as a browser shows it")
    sync = pytest.importorskip(
        "playwright.sync_api", reason="no playwright, which drives the browser; it comes with the dev extra"
    )
    with sync.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--force-color-profile=srgb"]  # as root chromium refuses its own sandbox
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()
