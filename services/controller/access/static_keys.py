"""The keys of the environment and of the key file.

Owns which of them are valid now; the file is read again when it changes. They have all scopes
unless the file says otherwise, so that whoever configures the controller can make other keys.
"""

from __future__ import annotations

import hmac
from pathlib import Path

import structlog

from services.controller.access.key_record import digest
from services.controller.access.principal import ALL_SCOPES, Principal, Scope
from shared.errors import ConfigurationError
from shared.key_file import KeyLine, read_key_file
from shared.settings import ControllerSettings

log = structlog.get_logger(__name__)

_ID_DIGITS = 12


class StaticKeys:
    """Finds the holder of a key by the key's digest."""

    def __init__(self, settings: ControllerSettings) -> None:
        """Read the keys. Raises ConfigurationError for a file that is none of keys."""
        given = [key.get_secret_value() for key in settings.api_keys]
        self._given = dict(_entry(KeyLine(key, (), 0)) for key in given)
        self._file = settings.api_keys_file
        self._stamp = _stamp(self._file)
        self._known = {**self._read(), **self._given}

    @property
    def configured(self) -> bool:
        """Return whether keys are asked for, even if the file holds none at the moment."""
        return bool(self._given) or self._file is not None

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._known)

    def find(self, key_digest: bytes) -> Principal | None:
        """Return who holds the key with this digest."""
        found = None
        # All are compared, so that the time tells nothing about which one came near.
        for known, principal in self._known.items():
            if hmac.compare_digest(known, key_digest):
                found = principal
        return found

    def reread(self) -> bool:
        """Read the file again if it changed, and return whether it did.

        One that cannot be read changes nothing: a fault in it must lock nobody out.
        """
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._known = {**self._read(), **self._given}
        except ConfigurationError as fault:
            log.warning("the key file is at fault: its keys stay as they were", fault=fault.message)
            return False
        log.info("read the key file again", keys=len(self._known))
        return True

    def _read(self) -> dict[bytes, Principal]:
        return {} if self._file is None else dict(map(_entry, read_key_file(self._file)))


def _entry(line: KeyLine) -> tuple[bytes, Principal]:
    try:
        scopes = frozenset(map(Scope, line.scopes)) or ALL_SCOPES
    except ValueError as fault:
        msg = f"LLMZOO_API_KEYS_FILE: line {line.number}: {fault}; scopes are {', '.join(Scope)}"
        raise ConfigurationError(msg, param="LLMZOO_API_KEYS_FILE") from None
    key_digest = digest(line.key.encode())
    key_id = f"static_{key_digest.hex()[:_ID_DIGITS]}"
    return key_digest, Principal(key_id, "static", scopes)


def _stamp(path: Path | None) -> tuple[int, ...] | None:
    """Return what changes with the file; None where there is none."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)
