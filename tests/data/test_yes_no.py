"""What counts as yes, as no and as neither, on answers that are hard to read."""

import pytest

from lapilli.data.yes_no import leading_word, read_yes_no


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Yes, there is.", "yes"),
        ("no", "no"),
        (" No.", "no"),
        ("YES!", "yes"),
        ("yesterday", "other"),
        ("There is no ring.", "other"),
        ("The answer is yes.", "other"),
        ("", "other"),
        (" \n", "other"),
        ("a ring", "other"),
    ],
)
def test_the_leading_word_must_be_at_the_beginning(text, word):
    assert leading_word(text) == word


@pytest.mark.parametrize(
    ("word", "texts"),
    {
        "yes": (
            "yes", "Yes.", "YES", " yes\n", "**Yes**", '"Yes."', "- Yes", "Yes:", "yes;", "_yes_",
            "Yes, there is no doubt.",  # the word at the beginning decides
            "Yes, but not a red one.",
            "Yes. There is no other ring.",
            "The answer is yes.", "I would say yes, it is there.",
            "\n\nYes", "... yes",
        ),
        "no": (
            "no", "No.", "NO!", " no", "**No**, it is blue", "'no'", "No\nYes",
            "There is no red ring in the picture.", "It is not there.", "There isn't one.", "There isn’t one.",
            "I cannot see one.", "The picture does not show a ring. Yes, it shows a star.",
            "No, yes.", "not at all", "There is a star, not a ring.",
        ),
        "other": (
            "", " ", "\n", ".", "?!", "ring", "a red ring", "maybe", "yesterday", "yessir", "nothing", "none", "know",
            "snow", "noon", "nope", "There is a red ring.", "Unsure. No.", "It is red. It is not blue.", "0", "y", "n",
        ),
    }.items(),
)  # fmt: skip
def test_an_answer_is_read_by_its_first_word_or_its_first_sentence(word, texts):
    assert {text: read_yes_no(text) for text in texts} == dict.fromkeys(texts, word)


def test_who_says_the_word_first_is_read_alike_by_both_rules():
    texts = [
        f"{before}{word}{after}" for before in ("", " ") for word in ("yes", "No", "YES") for after in ("", ".", ", it")
    ]
    assert [leading_word(text) for text in texts] == [read_yes_no(text) for text in texts]
    assert "other" not in map(leading_word, texts)
