"""Evals in Redis: what is measured, kept by id and found by content.

Owns their stored form, how many are kept and how long. Knows no run but that an eval has some.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson

from services.evaluator.jobs.connection import Script, reaching_redis
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.pages import Order, Page, drop_expired, page_of
from services.evaluator.jobs.records import pack_bytes, unpack_bytes
from services.evaluator.jobs.scripts.life import CREATE_EVAL, DELETE_EVAL, UPDATE_EVAL
from services.evaluator.jobs.scripts.prelude import KEPT_SECONDS
from services.evaluator.jobs.stored_specs import questions_of, told_spec
from services.evaluator.sealed_rows import SealedRows
from shared.errors import Conflict, Gone, LLMZooError, NotFound, Overloaded
from shared.protocol.evals.run import Evaluation
from shared.protocol.evals.spec import EvalSpec, Question
from shared.registry import keys

MAX_EVALS = 1_000
FULL_RETRY_AFTER = 30.0

_CREATE, _UPDATE, _DELETE = Script(CREATE_EVAL), Script(UPDATE_EVAL), Script(DELETE_EVAL)


class Evals:
    """Reads and writes evals; every call raises StoreUnreachable without Redis."""

    def __init__(self, redis: Any, ids: Ids) -> None:
        """Use `redis`, an asyncio client that answers in bytes."""
        self._redis = redis
        self._ids = ids

    async def create(self, spec: EvalSpec, *, force_new: bool) -> tuple[Evaluation, bool]:
        """Store an eval, or find the one with this content. Raises Overloaded."""
        created = now()
        evaluation, head, questions, content = await asyncio.to_thread(
            _written, spec, self._ids.make("eval"), int(created)
        )
        names = [keys.evaluation(evaluation.id), keys.EVALUATIONS, content]
        values = (evaluation.id, int(force_new), MAX_EVALS, created, head, questions)
        word, *found = await _CREATE.run(self._redis, names, *values)
        if word == b"full" and await drop_expired(self._redis, keys.EVALUATIONS, keys.evaluation):
            word, *found = await _CREATE.run(self._redis, names, *values)
        if word == b"full":
            msg = f"{MAX_EVALS} evals are kept already; delete some, or try again later."
            raise Overloaded(msg, retry_after=FULL_RETRY_AFTER)
        if word == b"found":
            try:
                return await self.get(found[0].decode()), False
            except Gone:  # it has expired, and its index has not noticed
                return await self.create(spec, force_new=True)
        return evaluation, True

    async def get(self, eval_id: str) -> Evaluation:
        """Return an eval with its questions. Raises NotFound; Gone when its data are lost."""
        if not self._ids.made("eval", eval_id):
            raise NotFound(f"There is no eval {eval_id!r}.", param="eval_id")
        with reaching_redis():
            stored = await self._redis.hmget(keys.evaluation(eval_id), ["head", "questions"])
        if stored[0] is None:
            raise lost("eval", eval_id)
        return await asyncio.to_thread(_joined, *stored)

    async def list(self, after: str | None, limit: int, order: Order) -> Page[Evaluation]:
        """Return a page of evals without their questions."""

        async def read(ids: list[str]) -> list[Evaluation | None]:
            async with self._redis.pipeline(transaction=False) as batch:
                for eval_id in ids:
                    batch.hget(keys.evaluation(eval_id), "head")
                found = await batch.execute()
            return [Evaluation.model_validate_json(head) if head else None for head in found]

        return await page_of(self._redis, keys.EVALUATIONS, after, limit, order, read)

    async def update(
        self, eval_id: str, name: str | None, metadata: dict[str, str] | None
    ) -> Evaluation:
        """Give an eval another name, other metadata, or both. Raises as `get`."""
        found = await self.get(eval_id)
        changed = {
            **({} if name is None else {"name": name}),
            **({} if metadata is None else {"metadata": metadata}),
        }
        evaluation = found.model_copy(update={"spec": {**found.spec, **changed}})
        head = _head(evaluation)
        names = [
            keys.evaluation(eval_id),
            await asyncio.to_thread(_content_key, evaluation),
        ]
        [word] = await _UPDATE.run(self._redis, names, eval_id, head)
        if word == b"gone":
            raise lost("eval", eval_id)
        return evaluation

    async def delete(self, eval_id: str) -> None:
        """Delete an eval whose runs are deleted. Raises Conflict if one is open; Gone."""
        names = [
            keys.evaluation(eval_id),
            keys.EVALUATIONS,
            keys.evaluation_runs(eval_id),
            keys.OPEN_RUNS,
        ]
        [word] = await _DELETE.run(self._redis, names, eval_id)
        if word == b"open":
            msg = "A run of this eval is open; cancel it first."
            raise Conflict(msg)
        if word == b"gone":
            raise lost("eval", eval_id)

    async def put_back(self, evaluation: Evaluation) -> None:
        """Write an eval again that Redis has lost."""
        name = keys.evaluation(evaluation.id)
        fields = {
            "head": _head(evaluation),
            "questions": pack_bytes(questions_of(evaluation).text),
            "content": _content_key(evaluation),
        }
        with reaching_redis():
            async with self._redis.pipeline(transaction=True) as batch:
                batch.hset(name, mapping=fields)
                batch.expire(name, KEPT_SECONDS)
                batch.zadd(keys.EVALUATIONS, {evaluation.id: evaluation.created_at})
                await batch.execute()

    async def kept_since(self) -> int:
        """Return since when things are kept, in Unix seconds: what is older has been lost."""
        with reaching_redis():
            await self._redis.set(keys.EVALUATIONS_SINCE, int(now()), nx=True)
            return int(await self._redis.get(keys.EVALUATIONS_SINCE) or now())


def content_of(*parts: Any) -> str:
    """Return the hash of a spec's content."""
    content = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()


def lost(what: str, its_id: str) -> LLMZooError:
    """Return the failure for what was made here and is not there."""
    return Gone(
        f"The {what} {its_id!r} was here, and its data are gone: it was deleted, Redis has lost "
        f"it, or it was older than {KEPT_SECONDS // 86_400} days.",
        param=f"{what}_id",
        code=f"{what}_lost",
    )


def now() -> float:
    """Return the wall clock in Unix seconds: people compare it with their own."""
    return datetime.now(UTC).timestamp()


def _content_key(evaluation: Evaluation) -> str:
    questions = hashlib.sha256(questions_of(evaluation).text).hexdigest()
    return keys.evaluation_content(content_of({**evaluation.spec, "questions": questions}))


def _written(spec: EvalSpec, eval_id: str, created: int) -> tuple[Evaluation, bytes, bytes, str]:
    """Return a new eval, both of its stored parts and the key of its content."""
    evaluation = Evaluation(
        id=eval_id, created_at=created, question_count=len(spec.questions), spec=told_spec(spec)
    )
    questions = pack_bytes(questions_of(evaluation).text)
    return evaluation, _head(evaluation), questions, _content_key(evaluation)


def _head(evaluation: Evaluation) -> bytes:
    """Return an eval without its questions, as it is stored."""
    spec: dict[str, Any] = {**evaluation.spec, "questions": []}
    return orjson.dumps({**evaluation.model_dump(exclude={"spec"}), "spec": spec})


def _joined(head: bytes, questions: bytes) -> Evaluation:
    told = orjson.loads(head)
    told["spec"]["questions"] = SealedRows(unpack_bytes(questions), Question)
    return Evaluation.model_validate(told)
