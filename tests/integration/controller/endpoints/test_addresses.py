"""Where a name leads: every connection goes to an address that was checked, under TLS's name."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry

from services.controller.endpoints.endpoints import open_endpoints
from services.controller.relay.call import Call
from shared.errors import AddressNotAllowed, UpstreamFailed
from shared.settings import ControllerSettings
from tests.fakes.chat_request import BODY
from tests.fakes.endpoints_file import write_endpoints
from tests.fakes.external_server import ExternalServer, completion

TLS = Path(__file__).parents[3] / "data" / "tls"
SETTLE = lambda _: None  # noqa: E731 - nobody counts
CALL = Call("req-1", "/v1/chat/completions", "ext/big", False, orjson.dumps(BODY), 0.0)


class Resolver:
    """Gives the next of these addresses at each turn, the last one for ever."""

    def __init__(self, *turns: list[str]) -> None:
        self._turns = list(turns)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        return self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]


@contextlib.contextmanager
def endpoint(folder, resolver, url, **fields):
    path = write_endpoints(folder, {"name": "ext", "base_url": url, "models": ["big"], **fields})
    settings = ControllerSettings(endpoints_file=path)
    endpoints = open_endpoints(settings, CollectorRegistry(), resolver)
    model = endpoints.find("ext/big")
    assert model is not None
    try:
        yield model
    finally:
        endpoints.close()


@pytest.fixture
async def external():
    server = await ExternalServer().start()
    yield server
    await server.stop()


@pytest.fixture
async def secure():
    """A server with the certificate of endpoint.test, and the names it was asked for by TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "endpoint.test.pem")
    names = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = await ExternalServer(tls=context).start()
    yield server, names
    await server.stop()


async def test_a_name_is_called_at_its_checked_address_under_its_name(external, tmp_path):
    resolver = Resolver(["127.0.0.1"])
    with endpoint(tmp_path, resolver, f"http://endpoint.test:{external.port}") as model:
        answer = await model.complete(CALL, SETTLE)

    assert answer.status == 200
    assert resolver.asked == ["endpoint.test"]
    assert external.asked[0].headers["host"] == f"endpoint.test:{external.port}"


FORBIDDEN = [
    ["169.254.169.254"],
    ["8.8.8.8"],
    # One bad address among good ones is enough.
    ["127.0.0.1", "169.254.169.254"],
    ["::ffff:169.254.169.254"],
]


@pytest.mark.parametrize("addresses", FORBIDDEN)
async def test_a_name_with_a_forbidden_address_is_not_called(external, tmp_path, addresses):
    url = f"http://endpoint.test:{external.port}"
    with (
        endpoint(tmp_path, Resolver(addresses), url) as model,
        pytest.raises(AddressNotAllowed) as refused,
    ):
        await model.complete(CALL, SETTLE)

    assert refused.value.status == 502
    assert "169.254" not in refused.value.message
    assert external.accepted == 0


async def test_a_name_that_changes_its_meaning_leads_nowhere(external, tmp_path):
    resolver = Resolver(["127.0.0.1"], ["169.254.169.254"])
    with endpoint(tmp_path, resolver, f"http://endpoint.test:{external.port}") as model:
        await model.complete(CALL, SETTLE)
        # The open connection is the checked address's, a new one is checked anew.
        await model.complete(CALL, SETTLE)
        assert external.accepted == 1
        await external.stop()
        with pytest.raises(UpstreamFailed):
            await model.complete(CALL, SETTLE)
        with pytest.raises(AddressNotAllowed):
            await model.complete(CALL, SETTLE)


async def test_the_next_address_is_tried(external, tmp_path):
    resolver = Resolver(["::1", "127.0.0.2", "127.0.0.1"])
    with endpoint(tmp_path, resolver, f"http://endpoint.test:{external.port}") as model:
        assert (await model.complete(CALL, SETTLE)).status == 200


async def test_a_name_without_addresses_is_502(tmp_path):
    with (
        endpoint(tmp_path, Resolver([]), "http://endpoint.test") as model,
        pytest.raises(UpstreamFailed, match="no address"),
    ):
        await model.complete(CALL, SETTLE)


async def test_tls_is_by_the_name_and_its_authority(secure, tmp_path):
    server, names = secure
    url = f"https://endpoint.test:{server.port}"
    authority = str(TLS / "authority.pem")
    with endpoint(tmp_path, Resolver(["127.0.0.1"]), url, ca_file=authority) as model:
        answer = await model.complete(CALL, SETTLE)

    assert answer.status == 200
    assert orjson.loads(answer.body) == completion()
    assert names == ["endpoint.test"]


UNTRUSTED = {
    "of another name": ("other.test", "authority.pem"),
    "of an unknown authority": ("endpoint.test", None),
}


@pytest.mark.parametrize(("name", "authority"), UNTRUSTED.values(), ids=UNTRUSTED.keys())
async def test_a_certificate(secure, tmp_path, name, authority):
    server, _ = secure
    fields = {} if authority is None else {"ca_file": str(TLS / authority)}
    url = f"https://{name}:{server.port}"
    with (
        endpoint(tmp_path, Resolver(["127.0.0.1"]), url, **fields) as model,
        pytest.raises(UpstreamFailed, match="certificate"),
    ):
        await model.complete(CALL, SETTLE)

    assert not server.asked


async def test_the_systems_resolver_is_asked(external, tmp_path):
    path = write_endpoints(
        tmp_path,
        {"name": "ext", "base_url": f"http://localhost:{external.port}", "models": ["big"]},
    )
    endpoints = open_endpoints(ControllerSettings(endpoints_file=path), CollectorRegistry())
    assert (await endpoints.models["ext/big"].complete(CALL, SETTLE)).status == 200
    endpoints.close()
