"""Who is let through: keys, scopes, and browsers that ask for somebody else."""

from __future__ import annotations

import hashlib

import pytest

from services.controller.access.guard import KeyGuard
from services.controller.access.keyring import MAX_KEY_BYTES, Keyring
from services.controller.access.principal import ALL_SCOPES, ANONYMOUS
from services.controller.access.static_keys import StaticKeys
from shared.errors import LLMZooError
from shared.http.local_callers import LocalCallers
from shared.settings import ControllerSettings
from tests.fakes.key_store import FakeKeyStore

# What each path needs, said again: any one of these scopes.
PATHS = {
    "/v1/chat/completions": {"chat"},
    "/v1/completions": {"chat"},
    "/v1/models": {"chat"},
    "/v1/models/a/b": {"chat"},
    "/tokenize": {"chat"},
    "/v1/stats": {"chat", "admin"},
    "/v1/evals": {"eval"},
    "/v1/evals/eval_1/runs": {"eval"},
    "/metrics": {"metrics"},
    "/metrics/targets": {"metrics"},
    "/admin/keys": {"admin"},
    "/admin/": {"admin"},
    "/admin/workers/w-1/drain": {"admin"},
}
ANY_KEY = ("/version", "/nowhere", "/v1/evalsx", "/administer", "/v1", "/health/nowhere", "//admin")


class Guarded:
    """A guard, and who was let through."""

    def __init__(self, *keys: str, address: str | None = None) -> None:
        self.store = FakeKeyStore()
        settings = ControllerSettings(api_keys=",".join(keys))
        keyring = Keyring(StaticKeys(settings), self.store)
        local = LocalCallers(address) if address else None
        self.guard = KeyGuard(keyring, local)
        self.principals = []

    async def ask(self, path="/v1/models", key=None, **headers):
        """Return the status of one request, 200 if it is let through."""
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        return await self.ask_raw(path, raw)

    async def ask_raw(self, path, headers):
        scope = {"type": "http", "path": path, "headers": headers, "state": {}}
        try:
            await self.guard.admit(scope)
        except LLMZooError as fault:
            return fault.status
        self.principals.append(scope["state"].get("principal"))
        return 200


@pytest.mark.parametrize("sent", ["Bearer one", "bearer one", "Bearer  one ", "Bearer two"])
async def test_a_static_key_opens_everything(sent):
    guarded = Guarded("one", "two")
    for path in PATHS:
        assert await guarded.ask(path, authorization=sent) == 200
    assert guarded.principals[0].scopes == ALL_SCOPES
    assert guarded.principals[0].id.startswith("static_")


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "Bearer On", "one", "Basic one", "\xff"])
async def test_anything_else_opens_nothing(sent):
    guarded = Guarded("one", "two")
    for path in [*PATHS, *ANY_KEY]:
        assert await guarded.ask(path, authorization=sent) == 401
        assert await guarded.ask(path) == 401
    assert guarded.principals == []


async def test_two_keys_at_once_are_refused():
    headers = [(b"authorization", b"Bearer one"), (b"authorization", b"Bearer two")]
    assert await Guarded("one").ask_raw("/v1/models", headers) == 401


async def test_health_is_open_and_nothing_beside_it():
    guarded = Guarded("one")
    assert await guarded.ask("/health/live") == 200
    assert await guarded.ask("/health/ready") == 200
    for path in ("/healthy", "/health", "/health/", "/health/live/", "/health/../admin/keys"):
        assert await guarded.ask(path) == 401


@pytest.mark.parametrize("scope", ["chat", "eval", "metrics", "admin"])
async def test_a_scope_opens_its_paths_and_no_other(scope):
    guarded = Guarded()
    key = guarded.store.add(scopes=[scope])
    answers = {path: await guarded.ask(path, key) for path in PATHS}
    assert answers == {path: 200 if scope in needs else 403 for path, needs in PATHS.items()}
    for path in ANY_KEY:
        assert await guarded.ask(path, key) == 200
    assert guarded.store.asked == 1


async def test_an_unknown_key_is_looked_up_once_in_a_while():
    guarded = Guarded()
    statuses = [await guarded.ask(key="zoo-guess") for _ in range(5)]
    assert statuses == [401] * 5
    assert guarded.store.asked == 1


async def test_a_key_that_is_too_long_is_not_even_looked_up():
    guarded = Guarded()
    assert await guarded.ask(key="x" * (MAX_KEY_BYTES + 1)) == 401
    assert guarded.store.asked == 0


async def test_a_record_found_by_a_part_of_the_digest_must_match_as_a_whole():
    guarded = Guarded()
    key = guarded.store.add()
    other = "zoo-other"
    (record,) = guarded.store.records.values()
    # Another key whose id is the same.
    name = "key_" + hashlib.sha256(other.encode()).hexdigest()[:16]
    guarded.store.records[name] = record
    assert await guarded.ask(key=other) == 401
    assert await guarded.ask(key=key) == 200


async def test_without_redis_a_key_seen_before_stays_valid_and_another_cannot_be_told():
    guarded = Guarded("one")
    seen, unseen = guarded.store.add(), guarded.store.add()
    assert await guarded.ask(key=seen) == 200
    guarded.store.reachable = False
    assert await guarded.ask(key=seen) == 200
    assert await guarded.ask(key="one") == 200
    assert await guarded.ask(key=unseen) == 503
    assert await guarded.ask(key="zoo-guess") == 503
    # The second one was not even asked for.
    assert guarded.store.asked == 2


async def test_on_loopback_without_keys_nobody_needs_one_but_a_wrong_one_is_refused():
    guarded = Guarded(address="http://127.0.0.1:8000")
    assert await guarded.ask(host="127.0.0.1:8000") == 200
    assert guarded.principals == [ANONYMOUS]
    assert await guarded.ask() == 200
    assert await guarded.ask(key="zoo-guess", host="127.0.0.1:8000") == 401
    key = guarded.store.add(scopes=["chat"])
    assert await guarded.ask("/admin/keys", key) == 403


@pytest.mark.parametrize("placeholder", ["none", "EMPTY", "sk-something", ""])
async def test_what_clients_send_for_want_of_a_key_is_none_where_none_is_needed(placeholder):
    guarded = Guarded(address="http://127.0.0.1:8000")
    guarded.store.reachable = False
    assert await guarded.ask(key=placeholder, host="localhost") == 200
    assert await guarded.ask(key=placeholder, host="evil.example") == 403
    assert guarded.principals == [ANONYMOUS]
    assert guarded.store.asked == 0


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST",
        "127.0.0.1:8000",
        "127.8.9.1",
        "[::1]:8000",
        "zoo.example:8000",
        "a.localhost",
    ],
)
async def test_without_a_key_ours_are_the_names_of_loopback_and_the_advertised_one(host):
    guarded = Guarded(address="https://zoo.example/base")
    assert await guarded.ask(host=host) == 200
    assert await guarded.ask(host="localhost", origin=f"http://{host}") == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "10.0.0.1",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "",
        "[::1",
        "localhost@evil.example",
        "x" * 300,
        "0.0.0.0",
        "ÿ",
        "notlocalhost",
    ],
)
async def test_without_a_key_a_foreign_host_or_origin_is_refused(host):
    guarded = Guarded(address="http://zoo.example:8000")
    assert await guarded.ask(host=host) == 403
    assert await guarded.ask(host="localhost", origin=f"https://{host}") == 403
    assert await guarded.ask(host="localhost", origin="null") == 403
    # Whoever sends a key is no browser that was talked into asking.
    key = guarded.store.add()
    assert await guarded.ask(key=key, host=host, origin=f"https://{host}") == 200
