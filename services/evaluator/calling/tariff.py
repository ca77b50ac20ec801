"""What models cost, and what calls to them may come to.

Owns the list of models as the controller tells it (asked for when it is needed and older than a
while; the last known one stays while the controller is away), and what was learnt of each model's
answers. Only dollars are added up: a price in another currency counts as not known.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from services.evaluator.calling.habits import Habits, Manner
from services.evaluator.calling.tokens import UNBOUNDED, longest_answer, prompt_tokens, tokens_of
from shared.client import Answer
from shared.errors import LLMZooError, UpstreamTimeout

_DOLLARS = "USD"
_PER_TOKENS = 1_000_000
_FRESH_SECONDS = 30.0
_CHECK_SECONDS = 2.0
"""What a spec is checked against may be so old: its model may have been started just now."""

_ASK_SECONDS = _RETRY_SECONDS = 5.0


class ModelList(Protocol):
    """What is asked of a client."""

    async def models(self) -> list[dict[str, Any]]:
        """Return the entries of `GET /v1/models`; raises LLMZooError."""
        ...


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost."""

    input: float
    output: float
    currency: str


FREE = Price(0.0, 0.0, _DOLLARS)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is served under a name; one that is loading is known too."""

    name: str
    state: str
    owned_by: str
    price: Price | None
    """None: nobody says what it costs. A model of our own workers is `FREE`."""
    max_model_len: int | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call may come to; `cost_usd` is None where the price is not known in dollars."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


class Tariff:
    """The prices of all models that the controller serves."""

    def __init__(self, client: ModelList, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is asked before `look` or `models`."""
        self._client = client
        self._clock = clock
        self._facts: dict[str, ModelFacts] = {}
        self._seen_at = self._due_at = float("-inf")
        self._asking = asyncio.Lock()
        self._habits = Habits()

    async def models(self) -> dict[str, ModelFacts]:
        """Return what is served, as it is now or was when the controller was last reached.

        Raises:
            LLMZooError: it cannot be reached and never was.
        """
        async with self._asking:
            if self._clock() - self._seen_at > _CHECK_SECONDS:
                try:
                    await self._ask()
                except LLMZooError:
                    if not self._known:
                        raise
        return dict(self._facts)

    async def look(self) -> None:
        """See to it that prices are known, and not old, if the controller can be reached.

        Whoever reserves money by `estimate` looks first. Calls wait for the first list alone.
        """
        if self._clock() < self._due_at or (self._known and self._asking.locked()):
            return
        async with self._asking:
            if self._clock() >= self._due_at:
                with contextlib.suppress(LLMZooError):
                    await self._ask()

    def estimate(self, body: dict[str, Any]) -> Estimate:
        """Return what a request may come to at most: its answer as long as it may be."""
        return self._estimated(body, self._longest(body))

    def expected(self, body: dict[str, Any]) -> Estimate:
        """Return what a request will probably come to.

        The answer is as long as the model's were to such requests, or of a typical length where
        none was seen, if it may be so long.
        """
        longest = self._longest(body)
        return self._estimated(body, self._habits.length(_model(body), _manner(body), longest))

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        """Return dollars; 0 where `unpriced` says why they are not known."""
        price = self._price(model)
        return _dollars(price, prompt_tokens, completion_tokens) if price else 0.0

    def unpriced(self, model: str) -> str | None:
        """Return why nobody can say in dollars what a model costs; None: one can."""
        facts = self._facts.get(model)
        if facts is None or facts.price is None:
            return f"no price is known of '{model}'"
        if facts.price.currency != _DOLLARS:
            return f"prices of '{model}' are in {facts.price.currency}"
        return None

    def used(self, body: dict[str, Any], answer: Answer) -> Estimate:
        """Return what a call used as its server tells it, and learn from it; else a guess."""
        prompt = _count(answer.usage.get("prompt_tokens"))
        completion = _count(answer.usage.get("completion_tokens"))
        model = _model(body)
        guessed = prompt_tokens(body)
        if prompt is not None and completion is not None:
            self._habits.learn(model, _manner(body), guessed, prompt, completion)
        else:
            if prompt is None:
                prompt = self._habits.prompt(model, _manner(body), guessed)
            completion = tokens_of(answer.text) if completion is None else completion
        return Estimate(prompt, completion, self.cost(model, prompt, completion))

    @property
    def _known(self) -> bool:
        return self._seen_at > float("-inf")

    async def _ask(self) -> None:
        """Ask the controller; raises as the client, and UpstreamTimeout."""
        self._due_at = self._clock() + _RETRY_SECONDS
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                entries = await self._client.models()
        except TimeoutError:
            raise UpstreamTimeout("The list of models did not come in time.") from None
        self._facts = {facts.name: facts for facts in map(_facts, entries) if facts}
        self._seen_at = self._clock()
        self._due_at = self._seen_at + _FRESH_SECONDS

    def _price(self, model: str) -> Price | None:
        """Return a price in dollars."""
        facts = self._facts.get(model)
        price = None if facts is None else facts.price
        return price if price is not None and price.currency == _DOLLARS else None

    def _estimated(self, body: dict[str, Any], completion: int) -> Estimate:
        model = _model(body)
        prompt = self._habits.prompt(model, _manner(body), prompt_tokens(body))
        completion *= _count(body.get("n")) or 1
        price = self._price(model)
        cost = _dollars(price, prompt, completion) if price else None
        return Estimate(prompt, completion, cost)

    def _longest(self, body: dict[str, Any]) -> int:
        told = longest_answer(body)
        return UNBOUNDED if told is None else told


def _facts(entry: object) -> ModelFacts | None:
    """Return what an entry of the list says; None if it is none."""
    if not isinstance(entry, dict):
        return None
    fields = cast("dict[str, Any]", entry)
    name = fields.get("id")
    if not isinstance(name, str):
        return None
    return ModelFacts(
        name,
        str(fields.get("state") or "ready"),
        str(fields.get("owned_by") or ""),
        _listed_price(fields),
        _count(fields.get("max_model_len")),
    )


def _listed_price(fields: dict[str, Any]) -> Price | None:
    """Return an entry's price: one of our own workers' models has a context and no price."""
    pricing = fields.get("pricing")
    if not isinstance(pricing, dict):
        return FREE if "pricing" not in fields and "max_model_len" in fields else None
    prices = cast("dict[str, Any]", pricing)
    told = (prices.get("input"), prices.get("output"))
    currency = prices.get("currency") or _DOLLARS
    if not all(isinstance(each, int | float) and each >= 0 for each in told):
        return None
    return Price(float(cast("float", told[0])), float(cast("float", told[1])), str(currency))


def _dollars(price: Price, prompt: int, completion: int) -> float:
    return (price.input * prompt + price.output * completion) / _PER_TOKENS


def _manner(body: dict[str, Any]) -> Manner:
    """Return how a request asks: how long the answer may be, and whether it is to be JSON."""
    return longest_answer(body), "response_format" in body


def _model(body: dict[str, Any]) -> str:
    return str(body.get("model"))


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return value
