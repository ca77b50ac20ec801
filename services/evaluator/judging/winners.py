"""The better of two answers as text: A, B or a tie.

Owns the words for it; anything longer is read as an order of two.
"""

from __future__ import annotations

from services.evaluator.judging.choices import holds_choice, is_torn, read_choice_line

RANKS = {"A": [1, 2], "B": [2, 1], "tie": [1, 1]}
"""Each verdict as ranks, by its label."""

_NAMES = (
    "{}",
    "assistant {}",
    "answer {}",
    "response {}",
    "model {}",
    "助手{}",
    "助手 {}",
    "回答{}",
)
_TIES = ("tie", "c", "a tie", "equal", "draw", "平局", "平手", "同样好")
_WORDS = {
    **{name.format(letter.casefold()): letter for letter in "AB" for name in _NAMES},
    **{f"{name.format(letter.casefold())} is better": letter for letter in "AB" for name in _NAMES},
    **dict.fromkeys(_TIES, "tie"),
}


def read_winner(text: str) -> str | None:
    """Return `A`, `B` or `tie`, or None where the text does not end with one of them."""
    return read_choice_line(text, _WORDS)


def is_undecided(text: str) -> bool:
    """Return whether a text ends with two of them, one or the other."""
    return is_torn(text, _WORDS)


def names_winner(text: str) -> bool:
    """Return whether a winner is named anywhere in a text."""
    return holds_choice(text, _WORDS)
