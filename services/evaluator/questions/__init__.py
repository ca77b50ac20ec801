"""Question sets of our own, in English and Chinese: ten categories, some questions with two turns.

Owns the names of the sets and their files, in the form of the API's questions. The sets were
written for this project, each language for itself, and have its licence.
"""

from __future__ import annotations

from importlib.resources import files

from shared.errors import NotFound
from shared.protocol.evals.spec import Question

_ENGLISH, _CHINESE = "en", "zh"
_TWO_TURN = "-two-turn"
NAMES = (
    _ENGLISH,
    _CHINESE,
    f"{_ENGLISH}+{_CHINESE}",
    f"{_ENGLISH}{_TWO_TURN}",
    f"{_CHINESE}{_TWO_TURN}",
)


def load(name: str) -> list[Question]:
    """Return the questions of a set, in their order.

    Raises:
        NotFound: there is no set of this name.
    """
    if name not in NAMES:
        msg = f"There is no question set '{name}'; there are {', '.join(NAMES)}."
        raise NotFound(msg, param="questions")
    languages = name.removesuffix(_TWO_TURN).split("+")
    questions = [question for language in languages for question in _read(language)]
    if name.endswith(_TWO_TURN):
        return [question for question in questions if len(question.turns) > 1]
    return questions


def _read(language: str) -> list[Question]:
    text = (files(__name__) / f"{language}.jsonl").read_text(encoding="utf-8")
    return [Question.model_validate_json(line) for line in text.splitlines()]
