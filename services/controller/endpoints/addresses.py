"""Which addresses an endpoint may lie at, and connecting to nothing else.

Owns the allow-list and the resolving of names. A name is resolved at each new connection, all of
its addresses are checked, and the connection goes to a checked address, never to the name again:
a name that means something else a moment later (DNS rebinding) leads nowhere.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import structlog

from services.controller.upstream.connection import Connection
from services.controller.upstream.origin import Origin
from services.controller.upstream.peer import Opened
from shared.errors import AddressNotAllowed
from shared.registry.record import Network

log = structlog.get_logger(__name__)

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host's name; raises OSError."""

# Where clouds keep their machines' credentials, and what else answers on a local link only.
_GUARDED: tuple[Network, ...] = tuple(
    ip_network(each)
    for each in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::254/128",
        "100.100.100.200/32",
        "168.63.129.16/32",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressPolicy:
    """The allow-list: named networks, and public addresses where TLS proves who is there."""

    def __init__(self, networks: Sequence[Network]) -> None:
        """Allow `networks`; addresses of metadata services only if named as such."""
        self._networks = list(networks)

    def allows(self, address: Address, *, tls: bool) -> bool:
        """Return whether an endpoint may lie there; a guarded network must be named itself."""
        address = _plain(address)
        named = [network for network in self._networks if address in network]
        for guarded in _GUARDED:
            if address in guarded:
                return any(
                    network.version == guarded.version and network.prefixlen >= guarded.prefixlen
                    for network in named
                )
        return bool(named) or (tls and address.is_global and not address.is_multicast)


class CheckedDial:
    """Opens connections of one endpoint."""

    def __init__(
        self,
        endpoint: str,
        policy: AddressPolicy,
        resolve: Resolve,
        *,
        tls: ssl.SSLContext | None,
        seconds: float,
    ) -> None:
        """Prepare; one of several addresses gets half of these `seconds` to answer."""
        self._endpoint = endpoint
        self._policy = policy
        self._resolve = resolve
        self._tls = tls
        self._seconds = seconds

    async def __call__(self, make: Callable[[], Connection], origin: Origin) -> Opened:
        """Connect to a checked address; certificate and Host header are the name's.

        Raises:
            AddressNotAllowed: the name leads, with one address or more, out of the allow-list.
            OSError: it has no address, or none that answers.
        """
        addresses = await self._resolve(origin.host, origin.port)
        for address in addresses:
            if not self._policy.allows(ip_address(address), tls=origin.tls):
                log.warning("endpoint refused", endpoint=self._endpoint, address=address)
                msg = f"The endpoint '{self._endpoint}' has an address that is not allowed."
                raise AddressNotAllowed(msg)
        last: OSError = socket.gaierror("its name has no address")
        each_seconds = self._seconds / (1 if len(addresses) == 1 else 2)
        for address in addresses:
            try:
                async with asyncio.timeout(each_seconds):
                    return await asyncio.get_running_loop().create_connection(
                        make,
                        address,
                        origin.port,
                        ssl=self._tls if origin.tls else None,
                        server_hostname=origin.host if origin.tls else None,
                    )
            except OSError as fault:
                last = fault
        raise last


async def system_addresses(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that verifies certificates, by the system's authorities or by `ca_file`.

    Raises:
        OSError: `ca_file` holds no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
