"""Reading an order in a judge's text: by forms first, by sentences only without one."""

from __future__ import annotations

from services.evaluator.judging.verdicts.bare import with_bare_chains
from services.evaluator.judging.verdicts.brackets import read_brackets
from services.evaluator.judging.verdicts.chain_verdict import read_chains, read_spaced
from services.evaluator.judging.verdicts.lists import read_lists
from services.evaluator.judging.verdicts.names import MAX_NAMES, with_names
from services.evaluator.judging.verdicts.prose import read_prose
from services.evaluator.judging.verdicts.readings import OrderReading, OrderRule
from services.evaluator.judging.verdicts.sentences import Sentences
from services.evaluator.judging.verdicts.structured import read_json
from services.evaluator.judging.verdicts.text import own_words, plain

_FORMS = (read_chains, read_brackets, read_lists, read_spaced, read_prose)
"""From the forms that are asked for to the wordings that are merely understood."""


def parse_order(text: str, n: int) -> list[int] | None:
    """Return the competition ranks of `n` answers that `text` gives, or None: undecoded."""
    reading = read_order(text, n)
    return None if reading.ranks is None else list(reading.ranks)


def read_order(text: str, n: int) -> OrderReading:
    """Return the same with the rule by which it was read, or why it was not.

    Args:
        text: what the judge wrote.
        n: how many answers it was to order, from 2 to 26.

    Raises:
        ValueError: for another `n`.
    """
    if not 2 <= n <= MAX_NAMES:  # noqa: PLR2004 - fewer than two have no order
        msg = f"n is {n}: an order is of 2 to {MAX_NAMES} answers"
        raise ValueError(msg)
    own = own_words(text)
    in_json = read_json(own, n, _read_text)
    return in_json if in_json is not None else _read_text(own, n)


def _read_text(own: str, n: int) -> OrderReading:
    sentences = Sentences(with_bare_chains(with_names(plain(own), n), n))
    for read in _FORMS:
        if (reading := read(sentences, n)) is not None:
            return reading
    return OrderReading(None, OrderRule.NO_ORDER)
