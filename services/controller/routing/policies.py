"""Which of several workers gets a request.

Owns the policies, all of them pure functions of what is known about the workers, and a random
number generator. Knows no registry, no socket and no clock. Each is given at least one worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

from services.controller.routing.ask import BLOCK_TOKENS, Ask

KV_SECONDS = 0.02
"""The KV cache's pressure k costs KV_SECONDS * k / (1 - k): nothing when half full, a wall when full."""

MISS_WEIGHT = 2.0
"""What a worker does not hold counts twice: computing it delays those who come after, too, and
drives out what others would have found there."""

SESSION_SHARE = 0.5
"""Part of a prompt that a session's last worker is taken to hold, where nothing better is known."""

TIE_SECONDS = 0.001
"""Costs nearer than that are equal: they are estimates, and equals take turns."""


class Worker(Protocol):
    """What a policy looks at."""

    @property
    def id(self) -> str:
        """Its name in the fleet."""
        ...

    @property
    def speed(self) -> float:
        """How fast it is by its operator's word, relative to others; 0: ask others first."""
        ...

    @property
    def occupied(self) -> int:
        """Sequences there: running, waiting or on their way."""
        ...

    @property
    def prefill_backlog(self) -> float:
        """Tokens there that are still to be prefilled."""
        ...

    @property
    def decode_backlog(self) -> float:
        """Tokens there that are still to be generated."""
        ...

    @property
    def prefill_rate(self) -> float:
        """Tokens a second, above 0."""
        ...

    @property
    def decode_rate(self) -> float:
        """Tokens a second of all its sequences together, above 0."""
        ...

    @property
    def kv_use(self) -> float:
        """Part of its KV cache that is taken, 0 to 1."""
        ...

    @property
    def chosen_at(self) -> float:
        """When it was chosen last, on any clock; equals take turns by it."""
        ...

    def held_blocks(self, chain: tuple[int, ...]) -> int:
        """Return how many leading blocks of a request it holds."""
        ...


WorkerT = TypeVar("WorkerT", bound=Worker)


class Policy(Protocol):
    """A way to choose."""

    def __call__(self, workers: Sequence[WorkerT], ask: Ask, rng: Random) -> WorkerT:
        """Return one of `workers`."""
        ...


def lottery(workers: Sequence[WorkerT], ask: Ask, rng: Random) -> WorkerT:
    """Return a worker by chance, in proportion to its speed; all of speed 0 are alike."""
    del ask
    weights = [worker.speed for worker in workers]
    return rng.choices(workers, weights if any(weights) else None)[0]


def shortest_queue(workers: Sequence[WorkerT], ask: Ask, rng: Random) -> WorkerT:
    """Return the worker with the fewest sequences for its speed."""
    del ask
    able = [worker for worker in workers if worker.speed > 0] or workers
    return _least(able, [w.occupied / (w.speed or 1.0) for w in able], rng)


def power_of_two(workers: Sequence[WorkerT], ask: Ask, rng: Random) -> WorkerT:
    """Return the less busy one of two that chance has picked."""
    return shortest_queue(rng.sample(workers, min(2, len(workers))), ask, rng)


def least_cost(workers: Sequence[WorkerT], ask: Ask, rng: Random) -> WorkerT:
    """Return the worker on which the request costs the fewest seconds."""
    return _least(workers, [cost(worker, ask) for worker in workers], rng, TIE_SECONDS)


def cost(worker: Worker, ask: Ask) -> float:
    """Return the seconds of work before and of a request on a worker, up to its first token.

    What is queued and in flight over the throughput measured, the pressure on its KV cache, and
    the prefill of what it does not hold yet. So a prefix draws a request only as far as computing
    it again would take longer than waiting.
    """
    held = worker.held_blocks(ask.chain) * BLOCK_TOKENS
    if ask.last_worker == worker.id:
        held = max(held, int(SESSION_SHARE * ask.prompt_tokens))
    prefill = worker.prefill_backlog + MISS_WEIGHT * max(0, ask.prompt_tokens - held)
    pressure = min(worker.kv_use, 0.99)
    return (
        prefill / worker.prefill_rate
        + worker.decode_backlog / worker.decode_rate
        + KV_SECONDS * pressure / (1 - pressure)
    )


def is_worth_waiting(chosen: Worker, full: Sequence[Worker], ask: Ask, waited: float) -> bool:
    """Return whether a request does better to wait for a full worker than to take the chosen one.

    It does where a full one holds so much of it that its turn there comes before the chosen one
    would have computed it. If that turns out wrong, no more time is lost than was to be won: who
    has `waited` as long as computing it takes, in seconds, waits no more.
    """
    price = MISS_WEIGHT * ask.prompt_tokens / chosen.prefill_rate
    if waited >= price:
        return False
    return min(cost(worker, ask) for worker in full) < cost(chosen, ask) - TIE_SECONDS


POLICIES: dict[str, Policy] = {
    "least_cost": least_cost,
    "power_of_two": power_of_two,
    "shortest_queue": shortest_queue,
    "lottery": lottery,
}


def _least(
    workers: Sequence[WorkerT], values: Sequence[float], rng: Random, tie: float = 0.0
) -> WorkerT:
    least = min(values) + tie
    equals = [w for w, value in zip(workers, values, strict=True) if value <= least]
    if len(equals) == 1:
        return equals[0]
    # In turns: by chance alone, ten idle workers would not have alike much after a hundred calls.
    longest_ago = min(worker.chosen_at for worker in equals)
    return rng.choice([worker for worker in equals if worker.chosen_at == longest_ago])
