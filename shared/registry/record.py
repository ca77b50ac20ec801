"""A record's making and its signed form: what stands in Redis, and what of it is believed.

Owns a process's identity, the signature (HMAC-SHA256 with the internal token over the record's bytes, so over id,
address, incarnation and beat number) and the check of advertised addresses.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from ipaddress import IPv4Network, IPv6Network, ip_address
from urllib.parse import urlsplit

from pydantic import ValidationError

from shared.protocol.workers import ServiceKind, ServiceRecord

Network = IPv4Network | IPv6Network


class RecordRefused(ValueError):
    """A record that is not believed; the text says why."""


def own_id(kind: ServiceKind, address: str) -> str:
    """Return the id of this process, reached at the base URL `address`."""
    return f"{kind}-{socket.gethostname()}-{urlsplit(address).port}"


def own_record(kind: ServiceKind, address: str) -> ServiceRecord:
    """Return what this process says of itself at its start, reached at the base URL `address`.

    The state is starting; the heartbeat fills in incarnation and beat.
    """
    return ServiceRecord(
        id=own_id(kind, address),
        kind=kind,
        address=address,
        incarnation="",
        version=version("llmzoo"),
        pid=os.getpid(),
        started_at=int(datetime.now(UTC).timestamp()),
    )


def sign(record: ServiceRecord, token: str) -> bytes:
    """Return the record's JSON behind its signature in hex and a space."""
    body = record.model_dump_json().encode()
    return _signature(body, token) + b" " + body


def verify(signed: bytes, token: str) -> ServiceRecord:
    """Return the record that was signed with `token`.

    Raises:
        RecordRefused: the signature is of another token, or the record is malformed.
    """
    signature, _, body = signed.partition(b" ")
    if not hmac.compare_digest(signature, _signature(body, token)):
        msg = "its record is not signed with this fleet's internal token"
        raise RecordRefused(msg)
    try:
        return ServiceRecord.model_validate_json(body)
    except ValidationError as fault:
        msg = f"its record is malformed: {fault.errors(include_url=False)[0]['msg']}"
        raise RecordRefused(msg) from None


def check_address(address: str, networks: Sequence[Network]) -> None:
    """Check that an advertised base URL may be called.

    A host name is let through only as the internal name of a container network: it holds no
    dot, so that it cannot be a public name.

    Raises:
        RecordRefused: no http(s) URL, or outside the allowed networks.
    """
    try:
        parts = urlsplit(address)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_valid = urlsplit(""), False
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_valid:
        msg = f"its address {address!r} is no http URL"
        raise RecordRefused(msg)
    try:
        ip = ip_address(parts.hostname)
    except ValueError:
        if "." not in parts.hostname:
            return
        msg = f"its address {address!r} is a public host name"
        raise RecordRefused(msg) from None
    if not any(ip in network for network in networks):
        msg = f"its address {address!r} lies outside the allowed networks"
        raise RecordRefused(msg)


def _signature(body: bytes, token: str) -> bytes:
    return hmac.new(token.encode(), body, hashlib.sha256).hexdigest().encode()
