"""A stored answer's record: what stands in Redis, with the body or the name of its blob.

Owns the form: the fingerprint, one line of JSON, the body unless a blob holds it. What cannot be
read is no record; the call is made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from services.controller.relay.answer import Answer, Headers

_FINGERPRINT_LENGTH = 64
ENTRY_BYTES = 1024
"""What Redis takes for a record beside its bytes: keys, accounts, allocation (measured: 0.9 KB)."""


class RecordUnreadable(ValueError):
    """A record of another form."""


@dataclass(frozen=True, slots=True)
class Record:
    """An answer, whose body is in the blob of that digest if there is one."""

    status: int
    headers: Headers
    body: bytes
    digest: str
    size: int
    """Bytes of the body."""

    def encode(self, fingerprint: str) -> bytes:
        """Return what stands in Redis."""
        head = [self.status, self.headers, self.digest, self.size]
        return fingerprint.encode() + orjson.dumps(head) + b"\n" + self.body

    @classmethod
    def decode(cls, stored: bytes) -> Record:
        """Return the record.

        Raises:
            RecordUnreadable: it was not written by `encode`.
        """
        head, _, body = stored[_FINGERPRINT_LENGTH:].partition(b"\n")
        try:
            status, headers, digest, size = _fields(orjson.loads(head))
        except ValueError as fault:
            raise RecordUnreadable(str(fault)) from fault
        return cls(status, headers, body, digest, size)

    def with_body(self, body: bytes) -> Answer:
        """Return the answer."""
        return Answer(self.status, body, self.headers)


def _fields(head: Any) -> tuple[int, Headers, str, int]:
    match head:
        case [int(status), [*pairs], str(digest), int(size)]:
            return status, tuple((str(name), str(value)) for name, value in pairs), digest, size
        case _:
            msg = "the record's head has another form"
            raise RecordUnreadable(msg)
