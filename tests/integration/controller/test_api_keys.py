"""API keys over HTTP: made, limited, revoked; with Redis away, frozen and emptied."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
import redis

from services.controller.access import scopes
from shared.registry import keys as names
from tests.fakes.chat_request import BODY, CHAT
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

OPERATOR = "the operator's key"
SECONDS_TO_REVOKE = 2.0


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
async def two(start_controller):
    """Two controllers on one Redis, which ask for keys."""
    controllers = [await start_controller(api_keys=OPERATOR) for _ in range(2)]
    for controller in controllers:
        controller.client.headers = bearer(OPERATOR)
    return controllers


async def make(controller, **spec):
    made = await controller.client.post("/admin/keys", json={"name": "a key", **spec})
    assert made.status_code == 201, made.text
    return made.json()


async def status(controller, key, path="/v1/models"):
    return (await controller.client.get(path, headers=bearer(key))).status_code


async def test_a_key_is_told_once_and_kept_as_a_digest(two, redis_server):
    made = await make(two[0], name="team", scopes=["metrics", "chat"], expires_in=3600)
    key = made.pop("key")
    assert key.startswith("zoo-")
    assert len(key) == 4 + 43
    assert made["scopes"] == ["chat", "metrics"]
    assert made["state"] == "valid"
    assert made["expires_at"] - made["created_at"] in {3600, 3601}
    assert (await two[1].client.get(f"/admin/keys/{made['id']}")).json() == made
    assert (await two[1].client.get("/admin/keys")).json() == {"object": "list", "data": [made]}

    with redis.Redis.from_url(redis_server.url) as client:
        stored = b"".join(client.hgetall(names.API_KEYS).values())
    assert key.encode() not in stored
    assert key[4:].encode() not in stored
    assert await status(two[1], key) == 200
    assert await status(two[1], key, "/metrics") == 200
    assert await status(two[1], key, "/admin/keys") == 403


@pytest.mark.parametrize(
    ("spec", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "scopes": "chat"}, "scopes"),
        ({"name": "x", "priority": "urgent"}, "priority"),
        ({"name": "x", "requests_per_minute": -1}, "requests_per_minute"),
        ({"name": "x", "tokens_per_minute": "9"}, "tokens_per_minute"),
        ({"name": "x", "tokens_per_minute": 1.5}, "tokens_per_minute"),
        ({"name": "x", "expires_in": 0}, "expires_in"),
        ({"name": "x", "key": "mine"}, "key"),
        ({"name": "x", "revoked_at": None}, "revoked_at"),
    ],
)
async def test_a_wrong_spec_names_its_parameter(two, spec, param):
    answer = await two[0].client.post("/admin/keys", json=spec)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(param)
    assert (await two[0].client.get("/admin/keys")).json()["data"] == []


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"name": NaN}'])
async def test_a_body_that_is_no_object_is_refused(two, body):
    assert (await two[0].client.post("/admin/keys", content=body)).status_code == 400


async def test_a_revoked_key_ends_at_once_here_and_soon_elsewhere(two):
    made = await make(two[0])
    assert await status(two[0], made["key"]) == await status(two[1], made["key"]) == 200

    revoked = await two[0].client.delete(f"/admin/keys/{made['id']}")
    assert revoked.json()["state"] == "revoked"
    assert await status(two[0], made["key"]) == 401

    async def ended():
        return await status(two[1], made["key"]) == 401

    await eventually(ended, SECONDS_TO_REVOKE)
    again = await two[1].client.delete(f"/admin/keys/{made['id']}")
    assert again.json() == revoked.json()
    refused = await two[1].client.patch(f"/admin/keys/{made['id']}", json={"priority": "batch"})
    assert refused.json()["revoked_at"] == revoked.json()["revoked_at"]
    assert await status(two[1], made["key"]) == 401


async def test_a_key_made_on_one_controller_opens_the_other_at_once(two):
    for _ in range(5):
        assert await status(two[1], (await make(two[0]))["key"]) == 200


async def test_an_expired_key_ends_by_itself(two):
    made = await make(two[0], expires_in=0.5)

    async def ended():
        return await status(two[0], made["key"]) == 401

    await eventually(ended)
    assert (await two[0].client.get(f"/admin/keys/{made['id']}")).json()["state"] == "expired"


async def test_limits_change_and_the_rest_stays(two):
    made = await make(two[0], requests_per_minute=5, tokens_per_minute=7)
    changed = await two[0].client.patch(f"/admin/keys/{made['id']}", json={"priority": "batch"})
    assert changed.json() == {**{k: v for k, v in made.items() if k != "key"}, "priority": "batch"}
    for wrong in ({"requests_per_minute": -1}, {"name": "other"}, {"scopes": ["admin"]}):
        answer = await two[0].client.patch(f"/admin/keys/{made['id']}", json=wrong)
        assert answer.status_code == 400


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_an_unknown_key_is_not_found(two, method):
    answer = await two[0].client.request(method, "/admin/keys/key_0", json={})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_no_key_401_and_the_header_that_says_how(two):
    async with httpx.AsyncClient(base_url=two[0].url, trust_env=False) as client:
        answer = await client.get("/v1/models")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "missing_api_key"


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_without_redis_keys_seen_before_serve_and_others_cannot_be_told(
    two, redis_server, fault
):
    seen, unseen = (await make(two[0]))["key"], (await make(two[0]))["key"]
    assert await status(two[0], seen) == 200
    getattr(redis_server, fault)()
    assert await status(two[0], seen) == 200

    started = time.monotonic()
    answers = await asyncio.gather(
        *(two[0].client.get("/v1/models", headers=bearer(unseen)) for _ in range(20))
    )
    assert time.monotonic() - started < 1.0
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    made = await two[0].client.post("/admin/keys", json={"name": "x"})
    assert made.status_code == 503
    assert await status(two[0], seen) == 200

    if fault == "freeze":
        redis_server.thaw()

        async def told():
            return await status(two[0], unseen) == 200

        await eventually(told)


async def test_keys_that_redis_lost_are_written_back_and_a_revocation_with_them(two, redis_server):
    kept, revoked = await make(two[0]), await make(two[0])
    for key in (kept, revoked):
        assert await status(two[0], key["key"]) == 200
    await two[0].client.delete(f"/admin/keys/{revoked['id']}")
    # The other controller has seen one of them alone, and nothing of the revocation.
    assert await status(two[1], kept["key"]) == 200
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    assert await status(two[0], kept["key"]) == 200

    async def written_back():
        listed = (await two[1].client.get("/admin/keys")).json()["data"]
        return {each["id"]: each["state"] for each in listed} == {
            kept["id"]: "valid",
            revoked["id"]: "revoked",
        }

    await eventually(written_back)
    assert await status(two[1], revoked["key"]) == 401
    third = await make(two[1])
    assert await status(two[0], third["key"]) == 200


async def test_the_key_file_is_read_again_while_serving(start_controller, tmp_path):
    path = tmp_path / "keys"
    path.write_text("one\n")
    controller = await start_controller(api_keys_file=path)
    assert await status(controller, "one") == 200
    path.write_text("other\n")

    async def changed():
        return (await status(controller, "one"), await status(controller, "other")) == (401, 200)

    await eventually(changed)
    # Without any key left, nobody is let in without one.
    path.write_text("")

    async def closed():
        return await status(controller, "other") == 401

    await eventually(closed)
    assert (await controller.client.get("/v1/models")).status_code == 401


async def test_bound_beyond_loopback_nothing_but_health_answers_without_a_key(start_controller):
    controller = await start_controller(controller_host="0.0.0.0")
    asked = list(controller.paths())
    assert {("POST", CHAT), ("POST", "/admin/keys"), ("GET", "/metrics")} < set(asked)
    assert [path for _, path in asked if path not in scopes.OPEN and not scopes.needed(path)] == []
    for method, path in [*asked, ("GET", "/nowhere"), ("OPTIONS", CHAT), ("GET", "/docs")]:
        answer = await controller.client.request(method, path, json=BODY)
        if path in {"/health/live", "/health/ready"}:
            assert answer.status_code in {200, 503}
        else:
            assert (method, path, answer.status_code) == (method, path, 401)


async def test_on_loopback_a_foreign_page_is_refused(controller):
    assert (await controller.client.get("/v1/models")).status_code == 200
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        answer = await controller.client.post("/admin/keys", json={"name": "x"}, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["type"] == "permission_error"
    assert (await controller.client.get("/admin/keys")).json()["data"] == []
