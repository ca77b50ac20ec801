"""Prompts that are new in each run and differ from their first token on.

Owns how many tokens a prompt is taken to have: each word is one of the commonest, which current
vocabularies hold as one token, so words are counted. Knows no tokenizer and no chat template,
which adds its own; what a server counted is among the figures.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

_ASK = "Write a long story with all of these words."
_ASK_TOKENS = 10
_WORDS = """
time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government number
night point home water room mother area money story fact month lot right study book eye job word
business issue side kind head house service friend father power hour game line end member law car
city community name president team minute idea body information back parent face others level
office door health person art war history party result change morning reason research girl guy
moment air teacher force education foot boy age policy music market sense road table food earth
light paper river stone letter window garden engine winter cloud summer spring tree field bridge
horse king queen ship island mountain forest valley ocean beach storm wind rain snow fire gold
silver iron glass wood metal cotton bread butter milk sugar salt coffee tea wine fruit apple
orange lemon rice corn meat fish bird dog cat mouse lion bear wolf fox sheep cow farm village
castle church tower wall roof floor stairs kitchen bed chair desk lamp clock phone camera radio
television computer machine tool wheel road train plane boat truck bus bike station airport hotel
restaurant hospital library museum theater park square street corner market shop store bank
prison court army navy soldier officer doctor nurse lawyer judge driver pilot farmer writer
artist singer actor player coach leader worker manager owner customer guest neighbor stranger
enemy hero child baby uncle aunt cousin brother sister husband wife son daughter
""".split()  # noqa: SIM905 - a list of quoted words cannot be read


def word_prompts(tokens: int, random: Random) -> Generator[str]:
    """Yield prompts of about `tokens` tokens for ever, the first words all different for long."""
    for first in each_once(sorted(set(_WORDS)), random):
        words = [first, *random.choices(_WORDS, k=max(0, tokens - _ASK_TOKENS - 1))]
        text = " ".join(words)
        yield f"{text}. {_ASK}" if tokens > _ASK_TOKENS else text


def token_prompts(tokens: int, vocabulary: int, random: Random) -> Generator[tuple[int, ...]]:
    """Yield prompts of exactly `tokens` random ids below `vocabulary` for ever."""
    for first in each_once(range(vocabulary), random):
        yield first, *random.choices(range(vocabulary), k=tokens - 1)


def each_once(values: Sequence[T], random: Random) -> Generator[T]:
    """Yield all values in random order, then all of them again in another one, for ever."""
    while True:
        yield from random.sample(values, k=len(values))
