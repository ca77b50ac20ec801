"""Calls to models: which are repeated, after how long, and how many are under way."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson
import pytest

from services.evaluator.calling.calls import Calls, call_key
from services.evaluator.calling.retries import RetryPolicy
from services.evaluator.calling.tariff import Tariff
from shared.client import Answer, APIError
from shared.errors import InvalidRequest, LLMZooError, Unavailable, UpstreamTimeout
from tests.fakes.waiting import eventually

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
ANSWER = Answer(
    "hello", "stop", {"prompt_tokens": 10, "completion_tokens": 4}, model="m-1",
    system_fingerprint="fp", logprobs=[{"token": "7"}],
)  # fmt: skip


def api_error(status, retry_after=None, code=None):
    return APIError(status, {"message": "no", "code": code}, "", retry_after)


class FakeClient:
    """Answers with the outcomes it is given, one a call; keeps what it was sent."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.sent = []
        self.now = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def chat(self, body, key):
        self.sent.append((body, key))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
        finally:
            self.now -= 1
        outcome = self.outcomes.pop(0) if self.outcomes else ANSWER
        if isinstance(outcome, LLMZooError):
            raise outcome
        return outcome

    async def models(self):
        prices = {"input": 1.0, "output": 10.0, "currency": "USD"}
        return [{"id": "m", "pricing": prices}, {"id": "other", "pricing": None}]


class Pauses:
    """A clock that only keeps how long it was asked to wait."""

    def __init__(self):
        self.asked = []

    async def __call__(self, seconds):
        self.asked.append(seconds)


@pytest.fixture
def pauses():
    return Pauses()


def calls(client, pauses=asyncio.sleep, *, concurrency=4, timeout=30, **policy):
    return Calls(
        client,
        Tariff(client),
        concurrency=concurrency,
        policy=RetryPolicy(**policy),
        timeout=timeout,
        sleep=pauses,
    )


async def test_a_reply_tells_what_was_said_and_what_it_cost():
    reply = await calls(FakeClient()).ask(BODY)
    assert (reply.text, reply.finish_reason, reply.logprobs) == ("hello", "stop", ANSWER.logprobs)
    assert (reply.prompt_tokens, reply.completion_tokens) == (10, 4)
    assert reply.model_version == "m-1@fp"
    assert reply.cost_usd == pytest.approx((10 * 1 + 4 * 10) / 1e6)


async def test_tokens_that_the_server_does_not_tell_are_guessed():
    reply = await calls(FakeClient(Answer("one two three", "stop"))).ask(BODY)
    assert reply.prompt_tokens > 0
    assert reply.completion_tokens == 4
    assert reply.model_version == ""


@pytest.mark.parametrize("fault", [api_error(500), api_error(503), api_error(408), Unavailable("")])
async def test_a_passing_failure_is_tried_again_under_the_same_key(fault, pauses):
    client = FakeClient(fault, fault, ANSWER)
    await calls(client, pauses).ask(BODY)
    assert client.sent == [(orjson.dumps(BODY), call_key(orjson.dumps(BODY)))] * 3
    assert len(pauses.asked) == 2


@pytest.mark.parametrize(
    "fault",
    [*map(api_error, (400, 401, 404, 422)), api_error(429, code="insufficient_quota")],
)
async def test_what_would_fail_again_is_not_tried_again(fault, pauses):
    client = FakeClient(fault)
    with pytest.raises(APIError):
        await calls(client, pauses).ask(BODY)
    assert pauses.asked == []
    assert len(client.sent) == 1


async def test_the_pauses_grow_up_to_a_bound_and_the_tries_end(pauses):
    client = FakeClient(*[api_error(503)] * 5)
    with pytest.raises(APIError):
        await calls(client, pauses, max_retries=4, first_pause=1, longest_pause=4).ask(BODY)
    assert client.outcomes == []
    for pause, longest in zip(pauses.asked, [1, 2, 4, 4], strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize("fault", [api_error(429, 0.01), api_error(429), api_error(503)])
async def test_no_retry_may_be_asked_for(fault):
    client = FakeClient(fault)
    with pytest.raises(APIError):
        await calls(client, max_retries=0).ask(BODY)
    assert len(client.sent) == 1


async def test_a_retry_after_holds_back_the_whole_model_and_no_other():
    client = FakeClient(api_error(429, 0.3))
    asked = calls(client)
    loop = asyncio.get_running_loop()
    began = loop.time()
    first = asyncio.create_task(asked.ask(BODY))
    await eventually(lambda: len(client.sent) == 1 and not asked.in_flight)
    await asked.ask({**BODY, "model": "other"})
    assert loop.time() - began < 0.25
    await asked.ask({**BODY, "seed": 1})
    assert loop.time() - began >= 0.3
    await first
    # Who was refused goes first.
    assert [orjson.loads(body).get("seed") for body, _ in client.sent] == [None, None, None, 1]


async def test_a_retry_after_beyond_all_patience_is_not_waited_for_and_stops_nobody():
    client = FakeClient(api_error(429, 3600.0))
    asked = calls(client)
    with pytest.raises(APIError):
        await asked.ask(BODY)
    await asked.ask(BODY)


async def test_a_model_that_only_refuses_is_given_up():
    client = FakeClient(*[api_error(429, 0.01)] * 50)
    with pytest.raises(APIError):
        await calls(client, patience=0.2).ask(BODY)
    assert 2 <= len(client.sent) < 50


def test_a_key_is_the_bytes_and_the_salt():
    content = orjson.dumps(BODY)
    assert call_key(content) == call_key(content)
    others = {call_key(content, salt) for salt in ("", "1", "2")}
    assert len(others | {call_key(orjson.dumps({**BODY, "temperature": 0}))}) == 4


async def test_a_schemas_order_is_kept():
    client = FakeClient()
    schema = {"reason": {"type": "string"}, "a": {"type": "string"}}
    await calls(client).ask({**BODY, "response_format": {"properties": schema}})
    assert client.sent[0][0].index(b"reason") < client.sent[0][0].index(b'"a"')


async def test_what_is_no_json_is_the_callers_fault():
    with pytest.raises(InvalidRequest):
        await calls(FakeClient()).ask({**BODY, "user": "\ud800"})


async def test_the_calls_in_flight_are_bounded_over_all_models():
    client = FakeClient()
    bounded = calls(client, concurrency=3)
    bodies = [{**BODY, "model": f"m{number % 5}"} for number in range(40)]
    await asyncio.gather(*(bounded.ask(body) for body in bodies))
    assert client.most == 3
    assert bounded.in_flight == 0


async def test_a_call_without_an_answer_is_given_up():
    client = FakeClient()
    client.gate.clear()
    asked = calls(client, timeout=0.05, max_retries=1, first_pause=0.01)
    with pytest.raises(UpstreamTimeout):
        await asked.ask(BODY)
    assert (len(client.sent), client.now, asked.in_flight) == (2, 0, 0)


async def test_cancelling_gives_every_place_back():
    client = FakeClient()
    client.gate.clear()
    asked = calls(client, concurrency=3)
    tasks = [asyncio.create_task(asked.ask({**BODY, "seed": seed})) for seed in range(10)]
    await eventually(lambda: client.now == 3)
    assert asked.in_flight == 3
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    assert (asked.in_flight, client.now) == (0, 0)
    client.gate.set()
    await asyncio.gather(*(asked.ask(BODY) for _ in range(10)))
    assert client.most == 3
