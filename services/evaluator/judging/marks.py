"""Codes that no text of a review holds, so that nobody who writes an answer can use them.

Owns how a code is made. It is a hash of all the texts, so the same review gets the same one at
every start and its calls keep their keys; should a text hold it, the next one is taken.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

# No vowels, so it is no word; no digits, so it is no score.
_LETTERS = "bcdfghjkmnpqrtvw"
_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Marks:
    """The codes of one review."""

    fence: str
    """Of the lines around questions and answers."""
    verdict: str
    """Of the line in which the judge gives the verdict."""


def marks_of(texts: Sequence[str]) -> Marks:
    """Return the codes for a review of `texts`; none of them holds either, however written."""
    content = hashlib.sha256()
    for text in texts:
        raw = text.encode(errors="surrogatepass")
        content.update(len(raw).to_bytes(8, "big") + raw)
    folded = [unicodedata.normalize("NFKC", text).casefold() for text in texts]
    attempt = 0
    while True:
        digest = hashlib.sha256(content.digest() + attempt.to_bytes(4, "big")).hexdigest()
        letters = "".join(_LETTERS[int(digit, 16)] for digit in digest[: 2 * _LENGTH])
        marks = Marks(letters[:_LENGTH], letters[_LENGTH:])
        codes = (marks.fence, marks.verdict)
        if codes[0] != codes[1] and not any(code in text for text in folded for code in codes):
            return marks
        attempt += 1
