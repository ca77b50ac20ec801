"""Which call a request is: the same one again, another one, or a mistake.

Owns the header's syntax and the two hashes: the slot (API key and Idempotency-Key), which is
what a stored call is found by, and the fingerprint (path and body), which must be the same
whenever the slot is. Knows no store.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from shared.errors import InvalidRequest

HEADER = "idempotency-key"
_VALID = re.compile(rb"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """A call of one API key; both hashes are SHA-256 in hex."""

    principal_id: str
    slot: str
    fingerprint: str

    @classmethod
    def of(cls, principal_id: str, idempotency_key: str, path: str, body: bytes) -> Self:
        """Return the identity; `principal_id` is the API key's id, `body` the bytes as they came.

        Two principals never share a slot: the key holds no zero byte, so the last one divides.
        """
        slot = hashlib.sha256(f"{principal_id}\0{idempotency_key}".encode())
        content = hashlib.sha256(path.encode() + b"\0")
        content.update(body)
        return cls(principal_id, slot.hexdigest(), content.hexdigest())


def idempotency_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the Idempotency-Key among ASGI's headers, None if there is none.

    Raises:
        InvalidRequest: it is not 1 to 255 visible ASCII characters, or there are several.
    """
    found = [value for name, value in headers if name == b"idempotency-key"]
    if not found:
        return None
    if len(found) > 1 or not _VALID.fullmatch(found[0]):
        msg = "The header Idempotency-Key takes one value of 1 to 255 visible ASCII characters."
        raise InvalidRequest(msg, param=HEADER, code="invalid_idempotency_key")
    return found[0].decode("ascii")
