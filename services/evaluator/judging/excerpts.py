"""How much of a text a judge is shown: all, or its beginning and end with a note between.

Owns the bounds of a prompt. In a line-up every answer has the same bound, so that none is shown
at more length than another.
"""

from __future__ import annotations

MAX_MATERIAL = 96_000
"""Characters of all answers of a line-up together."""
MAX_ANSWER = 24_000
MAX_QUESTION = 16_000
"""Characters of the question, and of the references."""


def answer_bound(answers: int, turns: int) -> int:
    """Return how many characters of each turn of each answer are shown."""
    return min(MAX_ANSWER, MAX_MATERIAL // answers) // turns


def excerpt(text: str, bound: int, note: str) -> str:
    """Return `text`, or at most `bound` characters of it around a line that tells of the gap.

    `note` is that line, with `{count}` for the characters left out.
    """
    if len(text) <= bound:
        return text
    head = (bound + 1) // 2
    tail = bound - head
    line = note.replace("{count}", str(len(text) - bound))
    return f"{text[:head]}\n{line}\n{text[len(text) - tail :]}"
