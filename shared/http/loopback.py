"""Which names and addresses are this machine for itself alone."""

from __future__ import annotations

from ipaddress import ip_address

_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address, can be reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() in _NAMES or host.lower().endswith(".localhost")
