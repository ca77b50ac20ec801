"""Names of answers, in the words that judges use for them, as one character each.

In a text whose names are characters, every other pattern is simple. Owns the nouns, numbers and
ordinals in English, Chinese and Japanese. Knows no order.
"""

from __future__ import annotations

import re

UNKNOWN = "\ue0ff"
"""A name with a number that no answer has."""
NAME = "[\ue001-\ue01a\ue0ff]"
MAX_NAMES = 26

_NOUN = (
    r"(?:assistant|answer|response|model|candidate|reply|output|chatbot|bot|completion|"
    r"contestant|participant|responder|option|system|text|essay|summary|translation)"
)
_EAST = r"(?:助手|助理|回答者|回答|答案|模型|回复|回覆|响应|候选|选手|アシスタント|応答|解答|モデル|候補)"
_DIGITS = "一二三四五六七八九十"
_STEMS = "甲乙丙丁戊己庚辛"
_SPELLED = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_LABEL = (
    r"(?:[0-9]{1,3}(?![0-9]|[./,][0-9]|[ ]?%)|(?-i:[A-Z])(?![A-Za-z0-9_])|"
    rf"(?:{'|'.join(_SPELLED)})\b|[{_DIGITS}{_STEMS}](?![样致起般定直些个方]))"
)
_TAIL = r"(?:'s?[ ](?:answer|response|reply|output|text)s?\b(?![ ](?:to|of|time|length)\b))?"
_NAMED = re.compile(
    rf"(?:\b(?:the[ ])?(?:AI[ ])?{_NOUN}s?|{_EAST})[ ]?[-#_]?[ ]?(?:[\[(\"']({_LABEL})[\])\"']|({_LABEL})){_TAIL}"
    rf"(?:的?(?:回答|回复|答案|响应|応答))?",
    re.IGNORECASE,
)
_LOWER_LETTER = re.compile(
    rf"\b{_NOUN}[ ]([a-z])(?=[ ]?(?:[<>=≥≤]|$|[,.)]))", re.IGNORECASE | re.MULTILINE
)
_LISTED = re.compile(
    rf"(?:\b{_NOUN}s?|{_EAST})[ ]({_LABEL}(?:[ ]?(?:,|、|&|,?[ ]?\b(?:and|or)\b|和|与|と)[ ]?{_LABEL}(?!\)[ ]?(?:{_NOUN}|{_EAST}))){{1,25}})",
    re.IGNORECASE,
)
_ORDINAL = re.compile(
    rf"\bthe[ ]({'|'.join(_ORDINALS)})[ ](?:AI[ ])?(?:{_NOUN}|one)\b{_TAIL}"
    rf"|(?<=\bthan )the ({'|'.join(_ORDINALS)})(?= ?(?:[.,;!]|$))"
    rf"|第([{_DIGITS}0-9])[个個名位款つ]?(?:{_EAST})(?:的?(?:回答|回复|答案))?",
    re.IGNORECASE,
)
_PAIRED = re.compile(rf"\bthe[ ](former|latter)\b(?:[ ]{_NOUN})?|(前者|后者|後者)", re.IGNORECASE)
_BARE_BEFORE = (
    r"(?<=than )|(?<=over )|(?<=prefer )|(?<=choose )|(?<=favor )|(?<=to )|(?<=比)|(?<=于)"
)
_VERBS = (
    r"is|are|was|were|wins?|beats|outperforms|surpasses|exceeds|and|or|provides|gives|has|offers|"
    r"ranks?"
)
_BARE = re.compile(
    rf"(?:(?<![A-Za-z0-9_'])(?=[A-Z][ ](?:{_VERBS})\b)|(?<![A-Za-z0-9_'])(?=[A-Z](?:'s[ ]|[优更比和与好略胜不]))|"
    rf"{_BARE_BEFORE}|(?<=[A-Z] and )|(?<=is )(?=[A-Z] ?(?:[.!\n]|\Z)))([A-Z])(?![A-Za-z0-9_])"
)
_OF_SEVERAL = re.compile(rf"({NAME})'s(?=,? (?:and|or) |, {NAME})")
_QUOTED_NAME = re.compile(rf"[\"'(\[]({NAME})[\"')\]]")


def number_of(label: str) -> int:
    """Return the number that a label of any kind stands for; 0 if it stands for none."""
    low = label.lower()
    if label.isascii() and label.isdigit():
        return int(label)
    if low in _SPELLED:
        return _SPELLED.index(low) + 1
    if low in _ORDINALS:
        return _ORDINALS.index(low) + 1
    for row in (_DIGITS, _STEMS):
        if label in row:
            return row.index(label) + 1
    return ord(low) - ord("a") + 1 if len(low) == 1 and "a" <= low <= "z" else 0


def name(label: str, n: int) -> str:
    """Return the character of the answer that `label` names, of `n`."""
    number = number_of(label)
    return chr(0xE000 + number) if 1 <= number <= n else UNKNOWN


def is_name(character: str) -> bool:
    """Return whether `character` stands for a name."""
    return "\ue001" <= character <= UNKNOWN


def index(character: str) -> int:
    """Return the number of the answer that a name's character stands for; 0: unknown."""
    return 0 if character == UNKNOWN else ord(character) - 0xE000


def indices(text: str) -> list[int]:
    """Return the numbers of all names in `text`, in their order."""
    return [index(character) for character in text if is_name(character)]


def with_names(text: str, n: int) -> str:
    """Return `text` with each name of one of `n` answers as one character."""
    text = _LISTED.sub(lambda found: _expanded(found[1], n), text)
    text = _NAMED.sub(lambda found: name(found[1] or found[2], n), text)
    text = _LOWER_LETTER.sub(lambda found: name(found[1], n), text)
    text = _ORDINAL.sub(lambda found: name(found[1] or found[2] or found[3], n), text)
    if n == 2:  # noqa: PLR2004 - of two there is a former and a latter one
        text = _PAIRED.sub(
            lambda found: name(
                "1" if found[0].lower().startswith(("the former", "前")) else "2", n
            ),
            text,
        )
    if not any(map(is_name, text)):
        text = _BARE.sub(lambda found: name(found[1], n), text)
    return _QUOTED_NAME.sub(r"\1", _OF_SEVERAL.sub(r"\1", text))


def _expanded(labels: str, n: int) -> str:
    """Return `1, 2 and 3` with names for the numbers."""
    return re.sub(_LABEL, lambda found: name(found[0], n), labels, flags=re.IGNORECASE)
