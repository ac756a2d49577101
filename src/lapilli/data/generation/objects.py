"""The objects that a text names, and whether a context knows of them.

For COCO's categories (arXiv 1405.0312) there are other words for each; any other one is looked for by its own name.
People are left out: there are too many words for them, and there is hardly a picture in which none could be.
"""

import re
from functools import cache

from lapilli.data.contexts import Context

_WORDS = {
    "bicycle": "bicycle bike cyclist", "car": "car automobile sedan", "motorcycle": "motorcycle motorbike",
    "airplane": "airplane aeroplane plane jet airliner aircraft", "bus": "bus", "train": "train locomotive",
    "truck": "truck lorry pickup", "boat": "boat ship canoe kayak sailboat ferry",
    "traffic light": "traffic_light stoplight", "fire hydrant": "fire_hydrant hydrant", "stop sign": "stop_sign",
    "parking meter": "parking_meter", "bench": "bench", "bird": "bird pigeon seagull duck parrot goose",
    "cat": "cat kitten", "dog": "dog puppy", "horse": "horse pony", "sheep": "sheep lamb goat",
    "cow": "cow bull cattle calf", "elephant": "elephant", "bear": "bear", "zebra": "zebra", "giraffe": "giraffe",
    "backpack": "backpack rucksack", "umbrella": "umbrella parasol", "handbag": "handbag purse", "tie": "necktie",
    "suitcase": "suitcase luggage", "frisbee": "frisbee", "skis": "ski skis", "snowboard": "snowboard",
    "sports ball": "baseball basketball football tennis_ball soccer_ball ball", "kite": "kite",
    "baseball bat": "baseball_bat", "baseball glove": "baseball_glove mitt", "skateboard": "skateboard",
    "surfboard": "surfboard", "tennis racket": "racket racquet", "bottle": "bottle", "wine glass": "wine_glass",
    "cup": "cup mug", "fork": "fork", "knife": "knife", "spoon": "spoon", "bowl": "bowl", "banana": "banana",
    "apple": "apple", "sandwich": "sandwich burger", "orange": "oranges orange_slice", "broccoli": "broccoli",
    "carrot": "carrot", "hot dog": "hot_dog hotdog", "pizza": "pizza", "donut": "donut doughnut",
    "cake": "cake cupcake", "chair": "chair armchair", "couch": "couch sofa",
    "potted plant": "potted_plant houseplant", "bed": "bed", "dining table": "dining_table", "toilet": "toilet",
    "tv": "tv television", "laptop": "laptop", "mouse": "computer_mouse", "remote": "remote_control",
    "keyboard": "keyboard", "cell phone": "cell_phone smartphone cellphone", "microwave": "microwave",
    "oven": "oven stove", "toaster": "toaster", "sink": "sink", "refrigerator": "refrigerator fridge", "book": "book",
    "clock": "clock", "vase": "vase", "scissors": "scissors", "teddy bear": "teddy_bear teddy",
    "hair drier": "hair_drier hairdryer", "toothbrush": "toothbrush",
}  # fmt: skip
"""Words that name a category; none that has another meaning as often, such as table or glasses."""

_KIN = (
    ("car", "truck", "bus"), ("bicycle", "motorcycle"), ("cow", "sheep", "horse"),
    ("cup", "bottle", "wine glass", "bowl"), ("handbag", "backpack", "suitcase"), ("chair", "couch", "bench", "bed"),
    ("tv", "laptop"), ("knife", "fork", "spoon"), ("skis", "snowboard"), ("surfboard", "boat"),
    ("microwave", "oven", "toaster"), ("donut", "cake"), ("bear", "teddy bear"), ("sandwich", "hot dog"),
    ("sports ball", "baseball bat", "baseball glove", "tennis racket"), ("toilet", "sink"),
)  # fmt: skip
"""Categories that people call by each other's names, or that come with each other."""

_LONGER = (("hot dog", "hotdog"), ("teddy bear", "teddy"), ("bean bag", "beanbag"))
"""Names that hold another category's, and what they are read as."""

_NEGATION = re.compile(r"\b(no|not|never|none|without|neither|nor|nothing|nobody|lacks?|absent|missing)\b|n't\b", re.I)
_SUPPOSITION = re.compile(
    r"\b(could|might|may|would|should|can|if|like|such as|as if|instead|usually|typically|often|perhaps|possibly"
    r"|maybe)\b",
    re.I,
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_PEOPLE = {"person", "people"}


def unsupported(text: str, context: Context) -> list[tuple[str, str]]:
    """The objects that a text says are there and that neither boxes nor captions know, each with its sentence.

    Sentences that deny or suppose something say of nothing that it is there.
    """
    known = supported(context)
    named_there: dict[str, str] = {}
    for sentence in _SENTENCE.findall(text):
        if not (_NEGATION.search(sentence) or _SUPPOSITION.search(sentence)):
            new = sorted(named(sentence) - known - named_there.keys())
            named_there |= dict.fromkeys(new, sentence.strip())
    return list(named_there.items())


def supported(context: Context) -> set[str]:
    """The categories that a context knows, with those that are called by the same names."""
    known = named(" . ".join((*context.captions, *(one.category for one in context.instances))))
    known |= set(context.categories)
    return known | {name for kin in _KIN if known & set(kin) for name in kin}


def named(text: str) -> set[str]:
    """COCO's categories, without people, that a text names in the singular or the plural."""
    lowered = text.lower()
    for longer, name in _LONGER:
        lowered = lowered.replace(longer, name)
    return {name for name, pattern in _patterns().items() if pattern.search(lowered)}


def mentions(text: str, category: str) -> bool:
    """Whether a text names a category of any kind: in other words too, if it is COCO's."""
    words = _WORDS.get(category, category.replace(" ", "_"))
    if category in _PEOPLE:
        words = "person people man woman boy girl child children men women somebody someone player rider they he she"
    return _pattern(words).search(text.lower()) is not None


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    return {name: _pattern(words) for name, words in _WORDS.items()}


@cache
def _pattern(words: str) -> re.Pattern[str]:
    alternatives = "|".join(re.escape(word.lower()).replace("_", r"[ -]") for word in words.split())
    return re.compile(rf"\b({alternatives})(e?s)?\b")
