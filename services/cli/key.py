"""`llmzoo key`: API keys made, shown and revoked by whoever holds one with the scope admin.

Owns the tables over `/admin/keys`. A key itself is printed once, when it is made; the one in use
here can be shown.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from services.cli.client import call
from services.cli.table import columns
from shared.errors import ConfigurationError
from shared.settings import ClientSettings

_PATH = "/admin/keys"
_HEAD = ("ID", "NAME", "STATE", "SCOPES", "PRIORITY", "REQUESTS/MIN", "TOKENS/MIN", "EXPIRES")
_NOT_TOLD = "-"


def create_key(settings: ClientSettings, spec: dict[str, Any], *, as_json: bool) -> None:
    """Make a key and print it; raises as ZooClient."""
    made = _told(call(settings, lambda client: client.post(_PATH, spec)))
    if as_json:
        print(orjson.dumps(made).decode())
        return
    # The key alone on stdout, so that a script can take it.
    print(f"{made['id']} is made. It is shown only now:", file=sys.stderr, flush=True)
    print(made["key"])


def list_keys(settings: ClientSettings, *, as_json: bool) -> None:
    """Print all keys, the newest first; raises as ZooClient."""
    listed = call(settings, lambda client: client.get(_PATH))["data"]
    if as_json:
        print(orjson.dumps(listed).decode())
    elif listed:
        print(*columns(_HEAD, [key_cells(key) for key in listed]), sep="\n")
    else:
        print("There are no keys yet. `llmzoo key create NAME` makes one.")


def show_key(settings: ClientSettings, key_id: str, *, as_json: bool) -> None:
    """Print one key; raises as ZooClient."""
    _print(_told(call(settings, lambda client: client.get(_path(key_id)))), as_json=as_json)


def show_own_key(settings: ClientSettings, *, as_json: bool) -> None:
    """Print the key that the commands on this machine send. Raises ConfigurationError: none is."""
    key = settings.api_key.get_secret_value()
    if not key:
        msg = "no key is set here: LLMZOO_API_KEY or LLMZOO_API_KEY_FILE gives one"
        raise ConfigurationError(msg, param="LLMZOO_API_KEY")
    print(orjson.dumps({"key": key}).decode() if as_json else key)


def revoke_key(settings: ClientSettings, key_id: str, *, as_json: bool) -> None:
    """End a key for good and print it; raises as ZooClient."""
    _print(_told(call(settings, lambda client: client.delete(_path(key_id)))), as_json=as_json)


def key_cells(key: dict[str, Any]) -> list[str]:
    """Return the cells of one key."""
    return [
        key["id"],
        key["name"],
        key["state"],
        ",".join(key["scopes"]),
        key["priority"],
        str(key["requests_per_minute"] or _NOT_TOLD),
        str(key["tokens_per_minute"] or _NOT_TOLD),
        _date(key["expires_at"]),
    ]


def _print(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(orjson.dumps(key).decode())
        return
    created, revoked = _date(key["created_at"]), _date(key["revoked_at"])
    names = [*(name.lower() for name in _HEAD), "created", "revoked"]
    for name, cell in zip(names, [*key_cells(key), created, revoked], strict=True):
        print(f"{name:<14}{cell}")


def _path(key_id: str) -> str:
    # Whatever was typed is one part of the path.
    return f"{_PATH}/{quote(key_id, safe='')}"


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the server said, without the client's own addition."""
    answer.pop("_request_id", None)
    return answer


def _date(seconds: int | None) -> str:
    if seconds is None:
        return _NOT_TOLD
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
