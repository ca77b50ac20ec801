"""Calls to models: which are repeated, after how long, and how many are under way."""

import asyncio

import pytest

from services.evaluator.calls import Calls, RetryPolicy, call_key
from shared.client import Answer, APIError
from shared.errors import LLMZooError, Unavailable

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
ANSWER = Answer("hello", "stop")


def api_error(status, retry_after=None):
    return APIError(status, {"message": "no"}, "", retry_after)


class FakeClient:
    """Answers with the outcomes it is given, one a call; keeps the headers."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.headers = []

    async def chat(self, _body, headers=None):
        self.headers.append(headers)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, LLMZooError):
            raise outcome
        return outcome


class Pauses:
    """A clock that only keeps how long it was asked to wait."""

    def __init__(self):
        self.asked = []

    async def __call__(self, seconds):
        self.asked.append(seconds)


@pytest.fixture
def pauses():
    return Pauses()


def calls(client, pauses, **policy):
    return Calls(client, 4, RetryPolicy(**policy), pauses)


@pytest.mark.parametrize(
    "fault", [api_error(429), api_error(500), api_error(503), api_error(408), Unavailable("away")]
)
async def test_a_passing_failure_is_tried_again_under_the_same_key(fault, pauses):
    client = FakeClient(fault, fault, ANSWER)
    assert await calls(client, pauses).ask(BODY) == ANSWER
    assert client.headers == [client.headers[0]] * 3
    assert client.headers[0] == {
        "idempotency-key": call_key(BODY),
        "x-llmzoo-priority": "batch",
    }


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_the_callers_fault_is_not_tried_again(status, pauses):
    client = FakeClient(api_error(status))
    with pytest.raises(APIError):
        await calls(client, pauses).ask(BODY)
    assert pauses.asked == []


async def test_the_pauses_grow_up_to_a_bound_and_the_tries_end(pauses):
    client = FakeClient(*[api_error(503)] * 5)
    with pytest.raises(APIError):
        await calls(client, pauses, attempts=5, first_pause=1, longest_pause=4).ask(BODY)
    assert client.outcomes == []
    for pause, longest in zip(pauses.asked, [1, 2, 4, 4], strict=True):
        assert longest / 2 <= pause <= longest


async def test_a_retry_after_is_the_least_pause(pauses):
    await calls(FakeClient(api_error(429, 7.0), ANSWER), pauses, first_pause=1).ask(BODY)
    assert 7 <= pauses.asked[0] <= 8


async def test_a_retry_after_beyond_all_patience_is_not_waited_for(pauses):
    with pytest.raises(APIError):
        await calls(FakeClient(api_error(429, 3600.0)), pauses).ask(BODY)
    assert pauses.asked == []


def test_a_key_is_the_contents_and_nothing_elses():
    turned = dict(reversed(BODY.items()))
    assert call_key(BODY) == call_key(turned)
    assert call_key(BODY) != call_key({**BODY, "temperature": 0})


async def test_the_calls_in_flight_are_bounded():
    class Counting:
        now = most = 0

        async def chat(self, _body, _headers=None):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return ANSWER

    client = Counting()
    bounded = Calls(client, 3, RetryPolicy())
    await asyncio.gather(*(bounded.ask(BODY) for _ in range(20)))
    assert client.most == 3
