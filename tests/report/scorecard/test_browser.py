"""The page as a browser shows it: chromium, headless, offline. Waits are for states, never for time."""

import pytest
from tests.report.boxes import WIDTHS, fit, outside, touching
from tests.report.scorecard.fake import OPERATORS, fake_scorecard

OUTSIDE = """() => [...document.querySelectorAll("main *")].filter((one) =>
  one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll")).map((one) => one.outerHTML)"""
COVERED = """(selector) => {
  const found = [], drawn = [...document.querySelectorAll(selector)].filter((one) => one.getClientRects().length);
  const boxes = drawn.map((one) => [one.textContent, one.getBoundingClientRect()]);
  boxes.forEach(([name, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 2) found.push([name, other, wide, high]);
  }));
  return found;
}"""
ROWS = '.all tbody:not([hidden]) tr:not(.family) th[scope="row"]'


@pytest.mark.parametrize("name", ["one", "two", "fine", "bare"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_an_error_and_nothing_sticks_out(show, name, width, scheme):
    page = show(name, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(OUTSIDE) == []
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) > 382) == (scheme == "light")


COLUMNS = (
    ".opening-words, .opening-figure, .content, .aside, .all td, .all th, .sane td, .sane th, .tiles li, .panels li"
)


@pytest.mark.parametrize("name", ["one", "bare"])
def test_nothing_leaves_its_column_and_the_table_fits(show, name):
    page = show(name)
    for width in WIDTHS:
        fit(page, width)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert outside(page, COLUMNS, ".mini, .chart", ".theme legend, .skip, .taus, .pairs, .models") == []
        assert touching(page, ".all tr, .sane tr", "td b, td small") == []
        for block in range(page.locator(".blocks").first.locator("input").count() if name == "one" else 0):
            page.check(f'input[name="block-0"][value="{block}"]', force=True)
            box = page.locator(".all").first
            assert box.evaluate("table => table.parentElement.scrollWidth - table.parentElement.clientWidth") <= 1


def test_a_kind_of_figures_is_shown_at_a_time_with_what_it_means(show):
    page = show("one")
    shown = page.locator(".all thead button:visible")
    assert shown.all_inner_texts() == ["Method", *OPERATORS]
    page.check('input[name="block-0"][value="1"]', force=True)
    assert shown.all_inner_texts()[:3] == ["Method", "Insertion", "Deletion"]
    assert "What Insertion says, in a sentence." in page.inner_text(".says:visible >> nth=0")
    assert "What Pointing says" not in page.inner_text(".says:visible >> nth=0")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("operator", range(4))
def test_no_name_in_the_chart_covers_another(show, width, operator):
    page = show("one", viewport={"width": width, "height": 800})
    page.check(f'input[name="plot-0"][value="{operator}"]', force=True)
    plot = f'[data-under="{operator}"] .{"narrow" if width == 360 else "wide"}-plot'
    assert page.locator(f"{plot} .name:visible").count() == 28
    assert page.evaluate(COVERED, f"{plot} .name") == []


def test_the_switches_of_a_model_follow_each_other_and_no_other_models(show):
    page = show("two")
    page.check('input[name="table-0"][value="2"]', force=True)
    page.check('input[name="block-0"][value="1"]', force=True)
    for where in ("plot", "table", "curves"):
        assert page.is_checked(f'input[name="{where}-0"][value="2"]')
        assert page.is_checked(f'input[name="{where}-1"][value="0"]')
    shown = page.locator("section.under").nth(1).locator('td[data-column="deletion"]:visible')
    assert set(shown.evaluate_all("cells => cells.map(cell => cell.dataset.under)")) == {"2"}
    assert shown.count() == 28


def test_a_click_sorts_a_column_within_families_and_across(show):
    page = show("one")
    told = fake_scorecard()
    value = {s["method"]: s["value"] for s in told["scores"] if s["metric"] == "deletion" and s["operator"] == "blur"}
    family = {method["name"]: method["family"] for method in told["methods"]}
    button = page.locator('.all thead button[data-column="deletion"]')
    home = page.locator(ROWS).all_inner_texts()
    page.check('input[name="block-0"][value="1"]', force=True)
    button.click()
    found = page.locator(ROWS).all_inner_texts()
    order = ["floor", "zero-pass", "one-backward", "many-pass"]
    assert found == sorted(value, key=lambda name: (order.index(family[name]), value[name]))
    page.uncheck(".together input")
    assert page.locator(ROWS).all_inner_texts() == sorted(value, key=value.get)
    button.click()
    assert page.locator(ROWS).all_inner_texts() == sorted(value, key=value.get, reverse=True)
    assert page.locator('th[aria-sort="descending"]').count() == 1
    page.check(".together input")
    button.click()
    assert page.locator(ROWS).all_inner_texts() == home
    assert page.locator("th[aria-sort]").count() == 0


def test_a_sorted_column_follows_the_operator(show):
    page = show("one")
    page.check('input[name="block-0"][value="1"]', force=True)
    page.click('.all thead button[data-column="flip"]')
    page.uncheck(".together input")
    for index, operator in enumerate(OPERATORS):
        page.check(f'input[name="plot-0"][value="{index}"]', force=True)
        scores = fake_scorecard()["scores"]
        value = {s["method"]: s["value"] for s in scores if s["metric"] == "flip" and s["operator"] == operator}
        assert page.locator(ROWS).all_inner_texts() == sorted(value, key=value.get, reverse=True)


def test_the_keyboard_reaches_switches_heads_and_boxes(show):
    page = show("one")
    page.focus('input[name="plot-0"][value="0"]')
    page.keyboard.press("ArrowRight")
    assert page.is_checked('input[name="curves-0"][value="1"]')
    page.focus('input[name="block-0"][value="2"]')
    page.keyboard.press("ArrowRight")
    page.focus('.all thead button[data-column="seconds"]')
    page.keyboard.press("Enter")
    assert page.locator('th[aria-sort="ascending"]').inner_text().startswith("Time a map")
    assert page.locator(".scroll:not([tabindex])").count() == 0


def test_every_drawing_says_what_it_is(show):
    page = show("one")
    drawings = page.locator("svg:not([aria-hidden]):not(.brand-mark)")
    said = drawings.evaluate_all("all => all.map(one => [one.getAttribute('role'), one.getAttribute('aria-label')])")
    assert len(said) > 100 and all(role == "img" and label for role, label in said)
    pictures = page.locator("main img").evaluate_all("all => all.map(one => one.alt)")
    assert len(pictures) == 8 * 28 and all(pictures)


def test_a_map_has_the_cells_of_its_grid(show):
    for name, side in (("one", 6), ("fine", 24)):
        page = show(name)
        tile = page.locator(".seen img").first
        tile.scroll_into_view_if_needed()
        page.wait_for_function("() => document.querySelector('.seen img').complete")
        assert tile.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [side, side]
        assert tile.evaluate("one => getComputedStyle(one).imageRendering") == "pixelated"
        assert tile.bounding_box()["width"] / side > 4


def test_without_its_script_the_page_still_switches(show):
    page = show("one", java_script_enabled=False)
    page.check('input[name="table-0"][value="3"]', force=True)
    page.check('input[name="block-0"][value="1"]', force=True)
    assert page.locator('.all td[data-column="flip"][data-under="3"]').first.is_visible()
    assert page.locator('.all td[data-column="flip"][data-under="0"]').first.is_hidden()
