"""Writing a person's verdict over an item's, with what stood there before.

Owns the race between two people: the second one's history holds the first one's verdict.
"""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from services.evaluator.jobs.connection import Script, reaching_redis
from services.evaluator.jobs.items import ItemReader, overrides_of
from services.evaluator.jobs.records import StoredResult
from services.evaluator.jobs.scripts.life import OVERRIDE
from services.evaluator.jobs.states import letter_of
from services.evaluator.jobs.told_verdicts import verdict_of
from shared.errors import Conflict, Gone
from shared.protocol.evals.item import Override, OverrideRequest

_OVERRIDE = Script(OVERRIDE)
MAX_OVERRIDES = 100
"""Of one item."""


async def override(
    reader: ItemReader, number: int, request: OverrideRequest, names: list[str]
) -> None:
    """Write it. Raises InvalidSpec; Conflict; Gone; StoreUnreachable."""
    if not reader.plan.reviews:
        msg = "The items of this run are answers; there is no verdict to replace."
        raise Conflict(msg)
    verdict = verdict_of(reader.plan, reader.plan.review(number), request)
    while True:
        with reaching_redis():
            told = await reader.redis.hget(reader.part("overrides"), number)
            result = await reader.redis.hget(reader.part("results"), number)
        history = overrides_of(told) if told else []
        if len(history) >= MAX_OVERRIDES:
            msg = f"This item was changed {MAX_OVERRIDES} times already."
            raise Conflict(msg)
        judged = StoredResult.decode(result).verdict if result else None
        made = Override(
            author=request.author,
            reason=request.reason,
            at=int(datetime.now(UTC).timestamp()),
            verdict=verdict,
            replaced=history[-1].verdict if history else judged,
        )
        text = orjson.dumps([each.model_dump(mode="json") for each in [*history, made]])
        letter = letter_of(verdict)
        [word] = await _OVERRIDE.run(reader.redis, names, number, told or b"", text, letter)
        match word:
            case b"written":
                return
            case b"pending":
                msg = "This item has not ended yet."
                raise Conflict(msg)
            case b"gone":
                msg = "The run was deleted."
                raise Gone(msg)
            case _:
                continue
