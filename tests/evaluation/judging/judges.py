"""Judges for tests, as replies of a server, and questions for them: three categories, two questions a picture."""

import json
import re

CATEGORIES = ("conv", "detail", "complex")
FAST = ["first_pause=0.01", "deadline=1.5", "concurrency=16"]


def lines(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def files(folder, count=12, answer="answer {at} of worth {worth}"):
    """Questions, references worth 8 and answers of other worth, the latter two in other orders than the questions."""
    names = [str(at) for at in range(count)]
    return [
        lines(folder / "questions.jsonl", [
            {"question_id": at, "image": f"{at // 2}.jpg", "text": f"Question {at}?", "category": CATEGORIES[at % 3]}
            for at in range(count)
        ]),
        lines(folder / "answers.jsonl", [
            {"question_id": name, "text": answer.format(at=name, worth=worth_of(int(name)))} for name in names[::-1]
        ]),
        lines(folder / "references.jsonl", [
            {"question_id": name, "text": f"reference {name} of worth {8 - int(name) % 2}"} for name in sorted(names)
        ]),
        lines(folder / "contexts.jsonl", [{"image": f"{at}.jpg", "caption": f"Scene {at}."} for at in range(count)]),
    ]  # fmt: skip


def worth_of(at):
    return 2 + at % 7


def asked(messages):
    """The mark of a balanced call ("" of a published one), and the two answers in it."""
    text = messages[-1]["content"]
    if mark := re.search(r"end with one line: (\w{16}) SCORE1", text):
        parts = re.findall(rf"<{mark[1]} answer [12]>\n(.*?)\n</{mark[1]} answer [12]>", text, re.S)
        return mark[1], parts
    return "", re.findall(r"\[Assistant [12]\]\n(.*?)\n\n\[End of", text, re.S)


def worths(messages):
    return [int((re.findall(r"of worth (\d)", answer) or ["1"])[-1]) for answer in asked(messages)[1]]


def verdict(messages, first, second, words="The first names more of the scene."):
    mark, _ = asked(messages)
    return f"{words}\n{mark} {first} {second}" if mark else f"{first} {second}\n{words}"


def honest(messages):
    return verdict(messages, *worths(messages))


def biased(messages):
    """A judge that gives two points more to whatever stands first."""
    first, second = worths(messages)
    return verdict(messages, min(10, first + 2), second)


def only(question, fault):
    """A fault of the calls about one question."""
    return lambda body, times: fault if f"Question {question}?" in body["messages"][-1]["content"] else None
