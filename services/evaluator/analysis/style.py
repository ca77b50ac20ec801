"""What can be measured of an answer's looks: its length, and how much of it is Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from services.evaluator.analysis.arrays import Floats
from services.evaluator.analysis.rows import AnswerRow
from services.evaluator.analysis.table import Table

# Bounded everywhere: an answer must not make its reading slow.
_MARK = re.compile(
    r"^ {0,3}\#{1,6}[ \t]"  # a heading
    r"|^[ \t]{0,16}(?:[-*+]|\d{1,3}[.)])[ \t]"  # an item of a list
    r"|\*\*[^*\n]{1,200}\*\*"  # bold
    r"|^ {0,3}```",  # either end of a block of code
    re.MULTILINE,
)


def markdown_marks(text: str) -> int:
    """Return how many headings, items of lists, bold spans and ends of code blocks a text has."""
    return len(_MARK.findall(text))


def measured(answers: Sequence[AnswerRow], table: Table, measure: Callable[[str], float]) -> Floats:
    """Return a measure of all answers (questions, candidates); NaN where there is none."""
    questions = {name: number for number, name in enumerate(table.questions)}
    candidates = {name: number for number, name in enumerate(table.candidates)}
    found = np.full((len(questions), len(candidates)), np.nan)
    for answer in answers:
        if answer.question in questions and answer.candidate in candidates:
            place = questions[answer.question], candidates[answer.candidate]
            found[place] = measure(answer.text)
    return found
