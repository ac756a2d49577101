"""The page of two evaluations: what changed, as text that stays text."""

import re

from lapilli.report.evaluation.pairs import pairs_table, render

PIXEL = "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD="
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e"


def changed(number, first_right, uri=PIXEL, text="red"):
    question = {"id": str(number), "question": f"{text} {number}?", "image": f"{text}.png", "type": text, "split": ""}
    answers = [
        {"benchmark": "mine.csv", "condition": "image", "question": question, "given": f"{text} {number}{side}"}
        | {"normalised": text, "right": right, "expected": [text]}
        for side, right in (("a", first_right), ("b", not first_right))
    ]
    return {"answers": answers, "uri": uri}


def parts(rows, text="red"):
    compared = {"first": text, "second": "b", "score": "share", "n": 1234, "difference": 0.125}
    compared |= {"difference_interval": [0.0501, 0.2], "test": "McNemar, exact", "p": 0.0125, "p_holm": 0.025}
    compared |= {"detectable": None, "first_only": 7, "second_only": 1}
    types = [{"benchmark": "mine.csv", "type": text, "first": 0.5, "second": 0.375, "compared": compared}]
    more = {"differing": [text], "reworded": 3, "left_out": [text]}
    return {"names": [text, "b"], "types": types, "changed": rows, **more}


def test_the_table_has_every_figure():
    table = pairs_table(parts([]))
    assert table.rows == [
        ["mine.csv red", "1,234", "50.0", "37.5", "+12.5 [+5.0, +20.0]", "0.013", "0.025", "–", "7 : 1"]
    ]
    assert len(table.columns) == len(table.rows[0]) and table.note.endswith("p by McNemar, exact")


def test_a_difference_that_is_the_same_for_all_has_no_interval():
    """Nothing is known of its spread: ends that are the difference itself would say that it is exact."""
    alike = parts([])
    alike["types"][0]["compared"] |= {"difference": 0.0, "difference_interval": [0.0, 0.0]}
    table = pairs_table(alike)
    assert table.rows[0][table.columns.index("difference")] == "+0.0"


def test_a_difference_of_one_picture_has_no_interval():
    """Its ends are no numbers, which plain values have as None."""
    single = parts([])
    single["types"][0]["compared"] |= {"difference": 0.0, "difference_interval": [None, None]}
    table = pairs_table(single)
    assert table.rows[0][table.columns.index("difference")] == "+0.0"


def test_answers_that_changed_stand_under_the_run_that_is_right():
    page = render(parts([changed(1, True), changed(2, False), changed(3, True, uri="")]))
    first, second = page.index("Right in red alone"), page.index("Right in b alone")
    assert first < page.index("red 1a") < page.index("red 3b") < second < page.index("red 2a")
    assert "3 answers changed sides" in page and page.count(PIXEL) == 2 and "1 answer without pictures" in page
    assert "3 more answers in other words" in page and "Not compared: red" in page


def test_text_stays_text_and_no_picture_is_fetched():
    rows = [changed(at, at % 2 == 0, uri="http://example.org/a.png", text=EVIL) for at in range(6)]
    page = render(parts([*rows, changed(9, True, text=EVIL)], EVIL))
    assert "<script" not in page and "<img src=x" not in page and "&lt;script&gt;" in page and "\u202e" not in page
    assert set(re.findall(r"<img src=\"(.{5})", page)) == {PIXEL[:5]} and "http://example" not in page


def test_many_answers_make_no_large_page():
    heavy = f"data:image/jpeg;base64,{'A' * 20_000}"
    page = render(parts([changed(at, at % 2 == 0, uri=heavy, text="x" * 3_000) for at in range(4_000)]))
    assert page.count(heavy) == 2 * 48 and len(page) < 6_000_000
    assert "1,452 more answers" in page
