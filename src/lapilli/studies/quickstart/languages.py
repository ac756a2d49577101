"""The language models with which the journey can be taken, and what it does differently for each."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """How a LLaVA with this language model is made.

    recipes   the recipe of every stage, of those that come with the package
    lengths   what the journey sets in them, for anybody to change
    template  the chat template
    talks     whether it can talk of more than scenes: plain English is mixed into its conversations so that it keeps
              that, and what it can do without pictures is scored before and after
    """

    recipes: Mapping[str, str]
    lengths: Mapping[str, tuple[str, ...]]
    template: str = "vicuna_v1"
    talks: bool = False


LANGUAGES: Mapping[str, Language] = {
    # In so many steps the connector has learned its captions, however many scenes there are.
    "pebble-lm": Language(
        {"align": "align", "instruct": "instruct"}, {"align": ("epochs=null", "max_steps=500"), "instruct": ()}
    ),
    "smollm2": Language(
        {"align": "smollm2-align", "instruct": "smollm2-instruct"},
        {"align": ("epochs=null", "max_steps=80"), "instruct": ("epochs=null", "max_steps=750")},
        template="own",
        talks=True,
    ),
}
"""The language models by the names that `model build --language` takes."""
