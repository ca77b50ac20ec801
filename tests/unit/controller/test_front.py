"""The layer before all routes: ids, counts, and what becomes of failures."""

from __future__ import annotations

import orjson
import pytest
from prometheus_client import CollectorRegistry

from services.controller.front import Front
from services.controller.metrics import CLIENT_GONE, ControllerMetrics
from shared.errors import Unavailable


class Guard:
    def __init__(self, fault=None):
        self.fault = fault

    async def admit(self, _):
        if self.fault is not None:
            raise self.fault


class Fronted:
    """An app behind a front; what was sent and counted of one request."""

    def __init__(self, app, fault=None):
        self.registry = CollectorRegistry()
        self.front = Front(app, Guard(fault), ControllerMetrics(self.registry))
        self.sent = []

    async def ask(self, path="/v1/models", headers=(), kind="http"):
        async def send(message):
            self.sent.append(message)

        scope = {"type": kind, "method": "GET", "path": path, "headers": list(headers)}
        await self.front(scope, None, send)

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def error(self):
        return orjson.loads(self.sent[1]["body"])["error"]

    def count(self, route, code):
        labels = {"route": route, "code": str(code)}
        return self.registry.get_sample_value("llmzoo_http_requests_total", labels)


async def answers(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"fine"})


async def test_an_answer_has_the_requests_id_and_is_counted():
    fronted = Fronted(answers)
    await fronted.ask(headers=[(b"x-request-id", b"mine-1")])
    assert fronted.sent[0]["headers"] == [(b"a", b"b"), (b"x-request-id", b"mine-1")]
    assert fronted.count("/v1/models", 200) == 1


@pytest.mark.parametrize("sent", [None, b"with space", b"x" * 129, b"line\nbreak", b""])
async def test_an_id_that_is_none_is_replaced(sent):
    ids = set()
    for _ in range(3):
        fronted = Fronted(answers)
        await fronted.ask(headers=[] if sent is None else [(b"x-request-id", sent)])
        ids.add(fronted.sent[0]["headers"][-1][1])
    assert len(ids) == 3
    assert all(each.startswith(b"req-") for each in ids)


async def test_who_is_not_let_in_is_told_and_counted():
    fronted = Fronted(answers, Unavailable("not now", retry_after=3))
    await fronted.ask()
    assert (fronted.status, fronted.error["message"]) == (503, "not now")
    assert (b"retry-after", b"3") in fronted.sent[0]["headers"]
    assert fronted.count("/v1/models", 503) == 1


async def test_a_failure_that_nobody_foresaw_is_a_500_and_reaches_the_log():
    async def breaks(_scope, _receive, _send):
        raise RuntimeError("secret")

    fronted = Fronted(breaks)
    with pytest.raises(RuntimeError):
        await fronted.ask()
    assert fronted.status == 500
    assert fronted.error["message"] == "Internal error (RuntimeError)."
    assert fronted.count("/v1/models", 500) == 1


async def test_one_in_the_middle_of_an_answer_adds_nothing_to_it():
    async def breaks(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("later")

    fronted = Fronted(breaks)
    with pytest.raises(RuntimeError):
        await fronted.ask()
    assert len(fronted.sent) == 1


async def test_a_client_that_left_before_an_answer_counts_as_such():
    async def silent(_scope, _receive, _send):
        pass

    fronted = Fronted(silent)
    await fronted.ask("/v1/completions")
    assert fronted.count("/v1/completions", CLIENT_GONE) == 1


async def test_paths_that_clients_invent_are_counted_as_one():
    fronted = Fronted(answers)
    for n in range(5):
        await fronted.ask(f"/nowhere/{n}")
    assert fronted.count("other", 200) == 5


async def test_no_other_protocol_is_served():
    fronted = Fronted(answers)
    await fronted.ask(kind="websocket")
    assert fronted.sent == []
