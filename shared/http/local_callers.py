"""Whether a request without a key comes from this machine's user, or from a page in his browser.

A controller on loopback trusts whoever can reach it. A browser lets any web page reach it too:
under a name of the page's own that resolves to 127.0.0.1 (DNS rebinding; the Host header tells),
or with a form that is posted across sites (the Origin header tells).
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from shared.errors import Forbidden
from shared.http.loopback import is_loopback


class LocalCallers:
    """Checks the two headers in which a browser says whose page is asking."""

    def __init__(self, address: str) -> None:
        """Let through what is addressed to loopback, or to the host of the base URL `address`."""
        self._advertised = _host_of(urlsplit(address).netloc.encode())

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise Forbidden for a request that a foreign page may have made."""
        for name, value in headers:
            if name == b"host" and not self._ours(_host_of(value)):
                msg = "Without an API key, ask under localhost, 127.0.0.1 or the advertised host."
                raise Forbidden(msg, code="host_not_allowed")
            if name == b"origin" and not self._ours(_host_of(value.partition(b"://")[2])):
                msg = "Web pages of other sites may not ask without an API key."
                raise Forbidden(msg, code="origin_not_allowed")

    def _ours(self, host: str) -> bool:
        return bool(host) and (is_loopback(host) or host == self._advertised)


def _host_of(authority: bytes) -> str:
    """Return the host of `host[:port]` in lower case, empty where it is malformed."""
    try:
        return urlsplit(f"//{authority.decode('ascii')}").hostname or ""
    except (UnicodeDecodeError, ValueError):
        return ""
