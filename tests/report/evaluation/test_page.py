"""The page of an evaluation: one file in which text stays text, of bounded size, that fits every window."""

import re

import pytest
from tests.report.boxes import WIDTHS, fit, outside

from lapilli.report.evaluation.page import pictured, render, write_page

PIXEL = "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD="
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 12


def answer(number, right, condition="image", text="red", benchmark="mine.csv"):
    question = {"id": str(number), "image": f"{text}.jpg", "type": text, "question": f"{text}?", "answers": [text]}
    row = {"benchmark": benchmark, "question": question, "condition": condition, "prompt": text, "given": text}
    return row | {"normalised": text.lower(), "right": right, "expected": [text]}


def parts(answers, text="red", benchmark="mine.csv"):
    table = {"benchmark": benchmark, "columns": ["type", "n"], "rows": [[text, "3"], ["all", "3"]], "note": text}
    pictures = [{"benchmark": benchmark, "split": "", "image": f"{text}.jpg", "uri": PIXEL}]
    return {"tables": [table], "answers": answers, "pictures": pictures, "scores": [], "constants": []}


def test_wrong_answers_come_first_with_what_was_said_under_the_controls():
    answers = [answer(1, True, text="blue"), answer(2, False), answer(2, False, "blank") | {"given": "a circle"}]
    page = render(parts(answers), "some/model")
    assert page.index("Wrong: 1") < page.index("red?") < page.index("Right: 1") < page.index("blue?")
    assert "1 of 2 answers right" in page and "some/model" in page
    assert "with a blank picture: a circle" in page and page.count(PIXEL) == 1 and "no picture" in page


def test_questions_of_one_id_have_each_their_own_controls():
    names = ["red", "blue", "green"]
    answers = [
        answer(7, False, condition, text) | {"given": f"{text} as {condition}"}
        for condition in ("image", "blank", "swapped")
        for text in names
    ]
    cards = render(parts(answers), "model").split("<li>")[1:]
    assert len(cards) == 3
    for name, card in zip(names, cards, strict=True):
        assert f"with a blank picture: {name} as blank" in card and f"with another picture: {name} as swapped" in card


def test_text_stays_text_everywhere():
    answers = [answer(number, right, text=EVIL) for number in range(200) for right in (True, False)]
    made = parts(answers, text=EVIL, benchmark=EVIL)
    page = render(made | {"answers": [row | {"benchmark": EVIL} for row in answers]}, EVIL)
    assert "<script" not in page and "<img src=x" not in page and "&lt;script&gt;" in page
    assert set(re.findall(r"<img src=\"(.{5})", page)) == {PIXEL[:5]}
    assert "http" not in re.sub(r"<meta[^>]*>", "", page)


def turns(name, pattern, text="red"):
    """The answers to a conversation's turns, r right and w wrong, also under the controls of what stood before."""
    for turn, letter in enumerate(pattern, 1):
        for condition in ("image", "teacher_forced", "no_history"):
            row = answer(f"{name}-{turn}", letter == "r", condition, text)
            row["given"] = f"{text} {letter} {condition}"
            row["question"] |= {
                "conversation": name,
                "turn": turn,
                "image": f"{text}.jpg",
                "question": f"{text} {turn}?",
            }
            yield row


def test_a_conversation_is_one_card_with_all_its_turns():
    """Wrong ones first, each turn with its mark; the controls of a turn are its own."""
    answers = [row for name, pattern in (("0", "rrr"), ("1", "rw"), ("2", "wr")) for row in turns(name, pattern)]
    page = render(parts(answers), "model")
    assert "5 of 7 answers right" in page
    assert page.index("Wrong at some turn: 2 conversations") < page.index("Right at every turn: 1 conversation<")
    first, second, third = page.split("<li>")[1:]
    for card, marks in ((first, "rw"), (second, "wr"), (third, "rrr")):
        shown = re.findall(r"turn (\d), (right|wrong)", card)
        assert [(int(turn), mark[0]) for turn, mark in shown] == list(enumerate(marks, 1))
        assert re.findall(r'class="reply is-(\w)', card) == list(marks)
        assert [card.index(f"red {turn}?") for turn in range(1, len(marks) + 1)] == sorted(
            card.index(f"red {turn}?") for turn in range(1, len(marks) + 1)
        )
        assert card.count("<img ") == 1 and card.count("after the right answers: red") == len(marks)
    assert "after the right answers: red w teacher_forced" in first.split("turn 1, ")[1]


def test_many_conversations_are_shown_whole_or_listed():
    answers = [row for name in range(100) for row in turns(str(name), "rw" if name % 2 else "rr")]
    page = render(parts(answers), "model")
    assert len(page.split("<li>")[1:]) == 72 and len(pictured(answers)) == 144
    assert "Wrong at some turn: 50 conversations, the first 48 with their pictures" in page
    assert "Right at every turn: 50 conversations, the first 24 with their pictures" in page
    assert "56 more answers, without pictures" in page


def test_text_of_conversations_stays_text():
    page = render(parts(list(turns(EVIL, "rw", EVIL)), text=EVIL), EVIL)
    assert "<script" not in page and "<img src=x" not in page and page.count("&lt;script&gt;") > 10


def test_many_answers_make_no_large_page(tmp_path):
    heavy = f"data:image/jpeg;base64,{'A' * 25_000}"
    answers = [answer(number, number % 2 == 0, text="x" * 5_000) for number in range(5_000)]
    made = parts(answers, text="x" * 5_000)
    made["pictures"][0]["uri"] = heavy
    write_page(made, "model", tmp_path / "eval.html")
    page = (tmp_path / "eval.html").read_text(encoding="utf-8")
    assert len(pictured(answers)) == page.count("<img ") == 72
    assert "Wrong: 2,500, the first 48 with their pictures" in page and "1,000 more answers, without pictures" in page
    assert "3,928 more answers in results/answers.json" in page
    assert len(page) < 10_000_000


def test_a_benchmark_whose_answers_are_neither_right_nor_wrong_has_its_table_alone():
    answers = [{name: value for name, value in answer(1, True).items() if name not in ("right", "expected")}]
    page = render(parts(answers), "model")
    assert "What it gets right" in page and "<td>3</td>" in page and "<li>" not in page


@pytest.mark.parametrize("text", ["red", LONG, EVIL])
def test_nothing_leaves_its_column_in_a_window_of_any_width(browser, tmp_path, text):
    answers = [answer(number, number > 5, condition, text) for number in range(90) for condition in ("image", "blank")]
    write_page(parts(answers, text), text, tmp_path / "eval.html")
    page = browser.new_page()
    page.goto((tmp_path / "eval.html").as_uri())
    for width in WIDTHS:
        fit(page, width)
        assert outside(page, ".chapter, .top", "img", ".scroll, details, .skip, legend, .theme") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
