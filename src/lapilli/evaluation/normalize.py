"""The normaliser of short answers by which VQAv2, TextVQA and VizWiz are scored, with all that is odd about it.

VQA's evaluation (Antol et al. 2015, arXiv 1505.00468) brings answers into one form before they are compared. LLaVA
scores and submits with the version of Pythia and MMF, which is this one to the last bit: published figures depend on
its oddities. Of these the largest are that a point goes unless a digit follows it, so that "www.google.com" is
"wwwgooglecom"; that a hyphen becomes a space, or nothing where any hyphen of the text has a space beside it; that
"a", "an" and "the" go, so that nothing is left of the answer "A"; and that "Macy's" is "macy 's".
"""

import re

_THOUSANDS = re.compile(r"\d,\d")
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_POINT = re.compile(r"\.(?!\d)")
_POINTS = 32  # that go at most: the value of re.UNICODE, which the original hands over as the count
_ARTICLES = ("a", "an", "the")
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)} | {"none": "0"}
_APOSTROPHES = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_CONTRACTIONS = {
    whole[:at] + whole[at + 1 :]: whole
    for whole in _APOSTROPHES.split()
    for at, character in enumerate(whole)
    if character == "'"
} | {"somebody'd": "somebodyd"}
"""Words in which one apostrophe is missing, with the word; and one that the original has the wrong way round."""


def normalize_answer(text: str) -> str:
    """The answer as VQA's evaluation compares it: lower case, no articles or punctuation, numbers to ten as digits.

    It may leave nothing of an answer.
    """
    return normalize_label(text.lower().replace(",", "").replace("?", "").replace("'s", " 's"))


def normalize_label(text: str) -> str:
    """The label as VQAv2's own program compares it, which does less: "macy's" stays, and "red,white" is "red white".

    Where a comma stands between digits all signs go without a space, so that "1,000-foot" is "1000foot".
    """
    text = _without_punctuation(text.replace("\n", " ").replace("\t", " ").strip())
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _without_punctuation(text: str) -> str:
    """Signs go where one of them stands beside a space, and become spaces elsewhere."""
    plain, number = text, _THOUSANDS.search(text)
    for sign in _PUNCTUATION:
        plain = plain.replace(sign, "" if number or f"{sign} " in text or f" {sign}" in text else " ")
    return _POINT.sub("", plain, count=_POINTS)
