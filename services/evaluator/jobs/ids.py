"""The ids of evals and runs: random, and recognisable as ours by whoever knows the fleet's token.

So a thing that Redis has lost is told from one that never was, with nothing kept about it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid

_RANDOM_LETTERS = 24
_ID = re.compile(r"(eval|evalrun)_[0-9a-f]{32}")


class Ids:
    """Makes ids of one fleet and knows them again."""

    def __init__(self, token: str) -> None:
        """Sign with `token`."""
        self._token = token.encode()

    def make(self, kind: str) -> str:
        """Return a new id, such as `eval_…`."""
        random = uuid.uuid4().hex[:_RANDOM_LETTERS]
        return f"{kind}_{random}{self._mark(kind, random)}"

    def made(self, kind: str, told: str) -> bool:
        """Return whether `told` is an id of this kind that was made here."""
        if _ID.fullmatch(told) is None:
            return False
        named, _, letters = told.partition("_")
        random, mark = letters[:_RANDOM_LETTERS], letters[_RANDOM_LETTERS:]
        return named == kind and hmac.compare_digest(mark, self._mark(kind, random))

    def _mark(self, kind: str, random: str) -> str:
        signed = hmac.new(self._token, f"{kind}_{random}".encode(), hashlib.sha256)
        return signed.hexdigest()[: 32 - _RANDOM_LETTERS]
