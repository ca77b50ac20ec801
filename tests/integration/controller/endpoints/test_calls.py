"""Calls to an external server: what it is sent, what of its answer reaches the client."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from shared.protocol.sse import DONE
from tests.fakes.chat_request import BODY, CHAT
from tests.fakes.external_server import (
    EVENTS,
    EVENTS_HEAD,
    LAST_CHUNK,
    Close,
    always,
    completion,
    delta,
    stream,
    whole,
)
from tests.fakes.worker_app import FakeWorker, answer, http_chunk, unary_body
from tests.integration.controller.endpoints.conftest import KEY

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

ASK = {**BODY, "model": "ext/big", "temperature": 0.5, "seed": 2**53, "stop": ["é"]}


async def test_a_whole_answer_is_the_servers_own(controller, external):
    response = await controller.client.post(CHAT, json=ASK)

    assert len(external.asked) == 1
    assert response.status_code == 200
    assert response.json() == completion()
    assert response.headers["content-type"] == "application/json"
    await controller.idle()


async def test_the_server_gets_its_own_model_name_and_key_and_nothing_of_ours(serving, external):
    controller = await serving(models=[{"name": "org/big-v1", "alias": "big"}])
    headers = {
        "authorization": "Bearer key-of-the-client",
        "x-request-id": "req-42",
        "x-llmzoo-priority": "batch",
        "x-llmzoo-anything": "1",
        "idempotency-key": "k",
        "cookie": "c=1",
        "user-agent": "browser",
        "x-forwarded-for": "10.0.0.9",
    }

    await controller.client.post(CHAT, json=ASK, headers=headers)

    (asked,) = external.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.json == {**ASK, "model": "org/big-v1"}
    assert asked.headers.pop("user-agent").startswith("llmzoo/")
    assert asked.headers == {
        "host": f"127.0.0.1:{external.port}",
        "authorization": f"bearer {KEY}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(asked.body)),
        "x-request-id": "req-42",
    }

    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=1"}
    await controller.client.post(CHAT, json=ASK, headers=trace)
    assert trace.items() <= external.asked[-1].headers.items()


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1/completions"),
        ("/", "/v1/completions"),
        ("/v1", "/v1/completions"),
        ("/v1/", "/v1/completions"),
        ("/v1beta/openai", "/v1beta/openai/completions"),
    ],
)
async def test_the_base_url_is_that_of_openais_clients(serving, external, base, path):
    controller = await serving(base_url=f"http://127.0.0.1:{external.port}{base}")

    response = await controller.client.post(
        "/v1/completions", json={"model": "ext/big", "prompt": "x"}
    )

    assert response.status_code == 200
    assert external.asked[0].path == path


async def test_without_a_key_file_no_authorization_is_sent(serving, external):
    controller = await serving(key_file=None)

    response = await controller.client.post(CHAT, json=ASK)

    assert response.status_code == 200
    assert "authorization" not in external.asked[0].headers


async def test_a_changed_key_is_read_again(controller, external, key_file):
    await controller.client.post(CHAT, json=ASK)
    key_file.write_text("sk-new-one")
    await controller.client.post(CHAT, json=ASK)
    key_file.unlink()
    await controller.client.post(CHAT, json=ASK)
    key_file.write_text("two\nlines")
    await controller.client.post(CHAT, json=ASK)
    key_file.write_text("sk-newest")
    await controller.client.post(CHAT, json=ASK)

    keys = [asked.headers["authorization"].removeprefix("bearer ") for asked in external.asked]
    assert keys == [KEY, "sk-new-one", "sk-new-one", "sk-new-one", "sk-newest"]


async def test_events_are_passed_on_as_they_come(controller, external):
    gates = [asyncio.Event() for _ in EVENTS]
    external.script = always(
        *stream(*(x for pair in zip(gates, EVENTS, strict=True) for x in pair))
    )

    # The head goes out with the first event.
    gates[0].set()
    async with controller.client.stream("POST", CHAT, json={**ASK, "stream": True}) as response:
        pieces = response.aiter_raw()
        for number, expected in enumerate(EVENTS):
            assert await anext(pieces) == expected
            if number + 1 < len(gates):
                gates[number + 1].set()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert external.asked[0].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize("size", [1, 7, 50])
async def test_events_cut_anyhow_arrive_whole(controller, external, size):
    raw = b"".join(EVENTS)
    pieces = [http_chunk(raw[at : at + size]) for at in range(0, len(raw), size)]
    external.script = always(EVENTS_HEAD, *pieces, LAST_CHUNK)

    response = await controller.client.post(CHAT, json={**ASK, "stream": True})

    assert response.content == raw


async def test_a_client_that_comes_back_is_not_given_another_answer(controller, external):
    """Its own events may have had ids, where the server is a zoo as well."""
    headers = {"last-event-id": "worker.chatcmpl-1.2"}

    response = await controller.client.post(CHAT, json={**ASK, "stream": True}, headers=headers)

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "answer_not_found"
    assert not external.asked


async def test_an_answer_that_ends_with_its_connection(controller, external):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    external.script = always(head, *EVENTS, Close())
    streamed = await controller.client.post(CHAT, json={**ASK, "stream": True})
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    external.script = always(head, orjson.dumps(completion()), Close())
    unary = await controller.client.post(CHAT, json=ASK)

    assert streamed.content == b"".join(EVENTS)
    assert unary.json() == completion()


async def test_connections_are_used_again(controller, external):
    for stream_it in (True, False, True, False):
        response = await controller.client.post(CHAT, json={**ASK, "stream": stream_it})
        assert response.status_code == 200

    assert external.accepted == 1


async def test_a_slow_client_stops_the_server_and_not_the_memory(controller, external):
    event, count = delta("x" * 10_000), 4_000
    external.script = always(*stream(*[event] * count, DONE))
    reader, writer = await asyncio.open_connection("127.0.0.1", controller.port)
    raw = orjson.dumps({**ASK, "stream": True})
    writer.write(
        f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(raw)}\r\n\r\n".encode()
    )
    writer.write(raw)
    await reader.readuntil(b"\r\n\r\n")

    # The server writes until every buffer on the way is full, and then waits.
    sent = -1
    while sent != external.sent_bytes:
        sent = external.sent_bytes
        await asyncio.sleep(0.3)
    assert sent < len(event) * count / 2

    received = 0
    while received < len(event) * count:
        received += len(await reader.read(1 << 20))
    writer.close()
    await controller.idle()


async def test_models_are_listed_with_their_endpoint(serving, announce):
    controller = await serving(models=["big", {"name": "org/small", "alias": "small"}])
    await announce(FakeWorker(answer("fine")))
    await controller.sees("worker-1")

    listed = (await controller.client.get("/v1/models")).json()["data"]

    assert [entry["id"] for entry in listed] == ["toy", "ext/big", "ext/small"]
    assert {key: listed[1][key] for key in ("object", "owned_by", "state")} == {
        "object": "model",
        "owned_by": "ext",
        "state": "ready",
    }
    assert (await controller.client.get("/v1/models/ext/small")).json() == listed[2]
    assert (await controller.client.get("/v1/models/ext/org/small")).status_code == 404


async def test_what_a_models_tokens_cost_is_listed_where_the_file_says_it(serving, announce):
    controller = await serving(
        models=["big", {"name": "small", "prices": {"input": 0.5, "output": 1, "currency": "EUR"}}],
        prices={"input": 2.5, "output": 10.0},
    )
    await announce(FakeWorker(answer("fine")))
    await controller.sees("worker-1")

    local, big, small = (await controller.client.get("/v1/models")).json()["data"]

    assert "pricing" not in local
    assert big["pricing"] == {"input": 2.5, "output": 10.0, "currency": "USD"}
    assert small["pricing"] == {"input": 0.5, "output": 1.0, "currency": "EUR"}


async def test_prices_that_nobody_knows_are_null(controller):
    (entry,) = (await controller.client.get("/v1/models")).json()["data"]
    assert entry["pricing"] is None


async def test_a_model_that_the_file_does_not_name_is_404_and_not_asked_for(controller, external):
    response = await controller.client.post(CHAT, json={**ASK, "model": "ext/huge"})

    assert response.status_code in {404, 503}
    assert not external.asked


async def test_workers_are_served_beside_endpoints(controller, announce):
    await announce(FakeWorker(answer("fine")))
    await controller.sees("worker-1")

    response = await controller.client.post(CHAT, json=BODY)

    assert response.content == unary_body(["fine"])


async def test_tokens_and_money_are_counted(serving, external):
    prices = {"input": 2.0, "output": 10.0, "currency": "EUR"}
    controller = await serving(
        models=["big", {"name": "own", "prices": {"input": 0, "output": 1e6}}], prices=prices
    )
    await controller.client.post(CHAT, json=ASK)
    await controller.client.post(CHAT, json={**ASK, "stream": True})
    external.script = always(whole({**completion(), "usage": None}))
    await controller.client.post(CHAT, json=ASK)
    external.script = always(whole(completion()))
    await controller.client.post(CHAT, json={**ASK, "model": "ext/own"})

    async def metric(name, **labels):
        return await controller.metric(f"llmzoo_endpoint_{name}", endpoint="ext", **labels)

    assert await metric("tokens_total", kind="input") == 33
    assert await metric("tokens_total", kind="output") == 15
    assert await metric("cost_total", currency="EUR") == pytest.approx(2 * (22 + 50) / 1e6)
    assert await metric("cost_total", currency="USD") == pytest.approx(5)
    assert await metric("untold_usage_total") == 1
    assert await metric("requests_total", outcome="answered") == 4
    assert await metric("inflight") == 0
