"""A run as an evaluator holds it while it works on it, and what it takes of it.

Owns the answers that are at hand for reviews: those that the spec gives, and the last ones that
were committed here. Reads no model.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from services.evaluator.jobs.connection import reaching_redis
from services.evaluator.jobs.creation import names_of
from services.evaluator.jobs.given_answers import GivenAnswers
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import StoredAnswer
from services.evaluator.jobs.stored_specs import run_spec_of, spec_of
from shared.protocol.evals.run import Evaluation, RunSpec
from shared.protocol.evals.spec import EvalSpec
from shared.registry import keys

_KEPT_LETTERS = 2_000_000
"""Of answers that wait for their reviews; others are read again."""
_KEPT_ANSWERS = 2_000
_UNBOUNDED = 1_000_000


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that was taken, and what came with it."""

    entry: bytes
    stream: str
    """`work`, or `alone` for one that a process died with too often."""
    name: str
    salt: str
    died_alone: int
    round: int
    """How often its run was resumed."""
    limited: bool
    """Whether its run has limits."""

    @property
    def kind(self) -> str:
        """`a` an answer, `r` a review; `q` and `x` stand for many."""
        return self.name[0]

    @property
    def number(self) -> int:
        """Its number in the plan, or the first one."""
        return int(self.name[1:].partition("-")[0])


def units_of(reply: list[Any], stream: str) -> list[Unit]:
    """Return the units in the reply of a script that takes some."""
    _, rounds, limited, *entries = reply
    found: list[Unit] = []
    for entry, flat, *where in entries:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        found.append(
            Unit(
                entry=entry,
                stream=where[0].decode() if where else stream,
                name=fields[b"u"].decode(),
                salt=fields.get(b"s", b"").decode(),
                died_alone=int(fields.get(b"k", 0)),
                round=rounds,
                limited=bool(limited),
            )
        )
    return found


@dataclass
class Work:
    """One open run."""

    run_id: str
    evaluation: Evaluation
    spec: EvalSpec
    run: RunSpec
    plan: Plan
    fields: dict[str, str | int | float | bytes]
    """What is fixed of its hash, to write it again should Redis lose it."""
    in_work: dict[bytes, Unit] = field(default_factory=dict[bytes, Unit])
    """What was taken and is not committed yet, by entry."""
    executing: int = 0
    dry: bool = False
    """Nothing was there when it was last asked."""
    full: bool = False
    """Its own bounds are reached until one of its units ends."""
    over: bool = False
    since: float = field(default_factory=time.monotonic)
    _fresh: OrderedDict[int, StoredAnswer] = field(default_factory=OrderedDict[int, StoredAnswer])
    _letters: int = 0

    @property
    def ready(self) -> bool:
        """Return whether something of it may be taken now."""
        return not (self.dry or self.full or self.over)

    @property
    def busy(self) -> int:
        """Return how many of its units are executed here; those that wait for their commit not."""
        return self.executing

    @property
    def most(self) -> int:
        """Return how many of its units may be in work, in all processes."""
        return self.run.concurrency or _UNBOUNDED

    def end(self, unit: Unit, *, more: bool) -> None:
        """Note that a unit is not in work any more, and whether its end brought others."""
        self.in_work.pop(unit.entry, None)
        self.full = False
        if more:
            self.dry = False

    @cached_property
    def names(self) -> list[str]:
        """Return the keys that every script of the run takes first."""
        return names_of(self.run_id)

    @cached_property
    def given(self) -> Mapping[int, StoredAnswer]:
        """Return the answers that the spec brings."""
        return GivenAnswers(self.plan)

    def keep(self, number: int, answer: StoredAnswer) -> None:
        """Remember an answer that was committed, in the place of old ones.

        One that failed may be asked for again elsewhere.
        """
        if answer.error is not None or number in self._fresh:
            return
        self._fresh[number] = answer
        self._letters += sum(map(len, answer.turns))
        while self._letters > _KEPT_LETTERS or len(self._fresh) > _KEPT_ANSWERS:
            _, dropped = self._fresh.popitem(last=False)
            self._letters -= sum(map(len, dropped.turns))

    async def answers(self, redis: Any, numbers: Iterable[int]) -> dict[int, StoredAnswer]:
        """Return these answers as far as they are there. Raises StoreUnreachable."""
        found: dict[int, StoredAnswer] = {}
        missing: list[int] = []
        for number in numbers:
            at_hand = self.given.get(number) or self._fresh.get(number)
            if at_hand is None:
                missing.append(number)
            else:
                found[number] = at_hand
        if missing:
            with reaching_redis():
                name = keys.evaluation_run_part(self.run_id, "answers")
                stored = await redis.hmget(name, missing)
            for number, text in zip(missing, stored, strict=True):
                if text is not None:
                    found[number] = StoredAnswer.decode(text)
        return found


def work_of(run_id: str, evaluation: Evaluation, stored: bytes, fields: dict[bytes, bytes]) -> Work:
    """Return a run, ready to be worked on; takes long if it is large."""
    run = run_spec_of(stored, fields[b"limits"])
    spec = spec_of(evaluation)
    kept = ("id", "eval", "name", "created_at", "candidates", "reviewed", "total",
            "answers_total", "limits")  # fmt: skip
    work = Work(
        run_id=run_id,
        evaluation=evaluation,
        spec=spec,
        run=run,
        plan=Plan(spec, run),
        fields={name: fields[name.encode()] for name in kept if name.encode() in fields},
    )
    _ = work.given
    return work
