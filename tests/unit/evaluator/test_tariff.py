"""Prices, and what calls may come to."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.calling.tariff import FREE, Price, Tariff
from services.evaluator.calling.tokens import prompt_tokens, tokens_of
from shared.client import Answer
from shared.errors import Unavailable

DOLLARS = {"input": 2.0, "output": 8.0, "currency": "USD"}
ENTRIES = [
    {"id": "local", "state": "loading", "owned_by": "llmzoo", "max_model_len": 2048},
    {"id": "ext/big", "state": "ready", "owned_by": "ext", "pricing": DOLLARS},
    {"id": "ext/euro", "owned_by": "ext", "pricing": {**DOLLARS, "currency": "EUR"}},
    {"id": "ext/odd", "owned_by": "ext", "pricing": {"input": "much"}},
    {"id": "ext/untold", "owned_by": "ext", "pricing": None},
]


class Controller:
    """Lists models, or is away."""

    def __init__(self, entries=ENTRIES):
        self.entries = entries
        self.asked = 0
        self.away = False

    async def models(self):
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("away")
        return self.entries


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def controller():
    return Controller()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tariff(controller, clock):
    return Tariff(controller, clock)


def body(model, content="x" * 40, **fields):
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}


async def test_what_is_served_is_known_by_name_also_while_it_loads(tariff):
    known = await tariff.models()
    assert set(known) == {entry["id"] for entry in ENTRIES}
    assert (known["local"].state, known["local"].max_model_len) == ("loading", 2048)
    assert known["local"].price == FREE
    assert known["ext/big"].price == Price(2.0, 8.0, "USD")
    assert known["ext/odd"].price is known["ext/untold"].price is None


async def test_dollars_alone_are_added_up(tariff):
    await tariff.look()
    assert tariff.cost("ext/big", 1_000_000, 500_000) == 2.0 + 4.0
    assert tariff.cost("local", 10**9, 10**9) == 0.0
    assert tariff.unpriced("ext/big") is tariff.unpriced("local") is None
    for model, why in (("ext/euro", "EUR"), ("ext/untold", "no price"), ("gone", "no price")):
        assert why in tariff.unpriced(model)
        assert tariff.cost(model, 10, 10) == 0.0
        assert tariff.estimate(body(model)).cost_usd is None
        assert tariff.expected(body(model)).cost_usd is None


async def test_an_estimate_is_the_longest_answer(tariff):
    await tariff.look()
    asked = body("ext/big", max_tokens=100, n=2)
    estimate = tariff.estimate(asked)
    assert (estimate.prompt_tokens, estimate.completion_tokens) == (prompt_tokens(asked), 200)
    assert estimate.cost_usd == pytest.approx((2 * estimate.prompt_tokens + 8 * 200) / 1e6)
    assert tariff.expected(body("ext/big", max_tokens=100)).completion_tokens == 100
    assert tariff.expected(body("ext/big")).completion_tokens == 256


async def test_what_a_model_did_is_expected_of_it(tariff):
    asked = body("ext/big", max_tokens=100)
    told = {"prompt_tokens": 2 * prompt_tokens(asked), "completion_tokens": 30}
    tariff.used(asked, Answer("", "stop", told))
    expected = tariff.expected(asked)
    assert (expected.prompt_tokens, expected.completion_tokens) == (told["prompt_tokens"], 30)
    assert tariff.expected({**asked, "response_format": {}}).completion_tokens == 100
    assert tariff.expected(body("ext/big", max_tokens=20)).completion_tokens == 20
    assert tariff.estimate(asked).completion_tokens == 100
    assert tariff.expected(body("other", max_tokens=100)).completion_tokens == 100


async def test_the_last_known_list_stays_while_the_controller_is_away(tariff, controller, clock):
    await tariff.look()
    controller.away = True
    clock.now += 3600
    await tariff.look()
    assert tariff.cost("ext/big", 1_000_000, 0) == 2.0
    assert "ext/big" in await tariff.models()
    assert controller.asked == 3


async def test_a_controller_that_never_answered_is_no_empty_list(tariff, controller, clock):
    controller.away = True
    await asyncio.gather(*(tariff.look() for _ in range(50)))
    assert controller.asked == 1
    with pytest.raises(Unavailable):
        await tariff.models()
    controller.away = False
    clock.now += 6
    await tariff.look()
    assert tariff.unpriced("ext/big") is None


async def test_the_list_is_asked_for_when_it_is_old_and_by_one_alone(tariff, controller, clock):
    await asyncio.gather(*(tariff.look() for _ in range(50)))
    assert controller.asked == 1
    clock.now += 29
    await tariff.look()
    assert controller.asked == 1
    clock.now += 2
    await asyncio.gather(*(tariff.look() for _ in range(50)))
    assert controller.asked == 2
    clock.now += 3  # a spec is checked against what is there now
    controller.entries = [*ENTRIES, {"id": "new"}]
    assert "new" in await tariff.models()


async def test_entries_of_another_shape_are_passed_over(clock):
    odd = [1, None, {}, {"id": 3}, {"id": "fine", "max_model_len": "long", "pricing": []}]
    known = await Tariff(Controller(odd), clock).models()
    assert [facts.price for facts in known.values()] == [None]


def test_tokens_of_scripts():
    assert tokens_of("") == 0
    assert tokens_of("four letters a token") == 5
    assert tokens_of("今天天气很好") == 6
    assert tokens_of("Добрый день") == 6
    assert tokens_of("今天 is fine") == 4


@given(st.text(max_size=200), st.text(max_size=200))
def test_tokens_of_two_texts_are_about_those_of_both(first, second):
    assert abs(tokens_of(first) + tokens_of(second) - tokens_of(first + second)) <= 2
