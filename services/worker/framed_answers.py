"""All framed answers that this worker holds: those that run and those that are kept for a while.

An answer that nobody reads any more is kept for the grace period, so that another controller can
take it over; one whose reader left before its end is an orphan meanwhile. Owns the ids by which
they are found, that time, and what becomes of them after it. Knows no frames and no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Literal

import structlog

from services.worker.answer_log import AnswerLog, LogSpace
from services.worker.framed_answer import FramedAnswer, Owner
from services.worker.generation import Generation
from services.worker.metrics import WorkerMetrics
from shared.errors import InvalidRequest, LLMZooError, NotFound, Unavailable
from shared.protocol.attach import AttachRequest
from shared.protocol.frames import HANDED_BACK, Frame, encode

log = structlog.get_logger(__name__)

Outcome = Literal["taken_over", "ended", "expired", "aborted"]

ANSWER_NOT_FOUND = "answer_not_found"


class FramedAnswers:
    """What can be read, taken over, aborted and handed back."""

    def __init__(self, grace_seconds: float, log_bytes: int, metrics: WorkerMetrics) -> None:
        """Start empty.

        Args:
            grace_seconds: for which an answer without a reader is kept.
            log_bytes: that all that is kept may take; 0: nothing can be taken over.
            metrics: where orphans are counted.
        """
        self._grace_seconds = grace_seconds
        self._space = LogSpace(log_bytes)
        self._metrics = metrics
        self._answers: dict[str, FramedAnswer] = {}
        self._ends: dict[FramedAnswer, asyncio.TimerHandle] = {}
        self._unfinished: set[FramedAnswer] = set()
        self._orphans = 0
        self._no_orphans = asyncio.Event()
        self._no_orphans.set()

    def __len__(self) -> int:
        """Return how many run."""
        return len(self._unfinished)

    async def begin(
        self, generation: Generation, frames: AsyncGenerator[Frame], owner: Owner
    ) -> FramedAnswer:
        """Submit the generation and return its answer, which runs from here on.

        One that has the same id is another worker's, come back: it takes the other one's place.

        Raises:
            Overloaded: there are not places enough. Unavailable: the engine has stopped.
        """
        generation.submit()
        start = encode(await anext(frames))
        request = generation.request
        token_ids, before = [()] * len(request.sequences), 0
        if request.begun is not None:
            token_ids, before = request.begun.token_ids, request.begun.last_sequence_number
        said = AnswerLog(self._space, start, token_ids, before)
        former = self._answers.get(request.id)
        if former is not None:
            self._forget(former, "aborted")
            former.dismiss()
            former.log.drop()
        answer = FramedAnswer(generation, frames, said, owner, self._left_alone)
        self._answers[answer.id] = answer
        self._unfinished.add(answer)
        return answer

    def attach(self, wanted: AttachRequest, request_id: str) -> FramedAnswer:
        """Return the answer that a request of this id is to read from now on.

        Raises:
            NotFound: it is not there, belongs to another key, or is not held from that place on.
            InvalidRequest: it answers another request, or never came so far.
        """
        answer = self._find(wanted)
        log.info(
            "taken_over",
            answer=answer.id,
            request_id=request_id,
            former_request_id=answer.request_id,
            after=wanted.after,
        )
        self._space.withdraw(answer.log)
        self._settle(answer, "taken_over")
        return answer

    def abort(self, wanted: str, reason: LLMZooError, key: str | None = None) -> None:
        """Abort what has this id, the answer's or its last reader's; an unknown one is no fault.

        With a `key`, that of its owner alone: different owners may have chosen the same id.
        """
        for answer in [*self._answers.values()]:
            if wanted in {answer.id, answer.request_id} and key in {None, answer.owner.key}:
                self._end(answer, reason)

    async def without_orphans(self) -> None:
        """Wait until each orphan has a reader again, or its time is over."""
        await self._no_orphans.wait()

    def hand_back(self) -> None:
        """End all answers in such a way that their readers go on with them elsewhere."""
        reason = Unavailable("This worker is shutting down.", code=HANDED_BACK, retry_after=1)
        for answer in [*self._unfinished]:
            self._end(answer, reason)

    async def close(self) -> None:
        """End everything at once; readers must have gone, or are cut off."""
        for answer in [*self._answers.values()]:
            self._forget(answer, "aborted")
        ending = [*self._unfinished]
        for answer in ending:
            answer.stop()
        await asyncio.gather(*(answer.stopped() for answer in ending))

    def _find(self, wanted: AttachRequest) -> FramedAnswer:
        answer = self._answers.get(wanted.answer)
        if (
            answer is None
            or answer.owner.key != wanted.key
            or not answer.log.whole
            or wanted.after < answer.log.before
        ):
            raise NotFound("This worker does not hold that answer.", code=ANSWER_NOT_FOUND)
        if answer.owner.body_digest != wanted.body_digest:
            raise InvalidRequest("The answer is one to another request.", param="body_digest")
        if wanted.after > answer.log.last:
            msg = f"The answer has come to frame {answer.log.last}, not to {wanted.after}."
            raise InvalidRequest(msg, param="after")
        return answer

    def _left_alone(self, answer: FramedAnswer) -> None:
        """Keep an answer that nobody reads, if anybody may still ask for it."""
        if answer.over:
            self._unfinished.discard(answer)
        if self._answers.get(answer.id) is not answer or not answer.log.whole:
            self._give_up(answer, "aborted")
            return
        if answer.over:
            self._space.offer(answer.log, lambda: self._give_up(answer, "ended"))
        if answer not in self._ends:
            loop = asyncio.get_running_loop()
            self._ends[answer] = loop.call_later(self._grace_seconds, self._expire, answer)
            if not answer.delivered:
                self._count_orphans(1)
                log.info("orphaned", answer=answer.id, request_id=answer.request_id)

    def _expire(self, answer: FramedAnswer) -> None:
        self._give_up(answer, "ended" if answer.over else "expired")

    def _end(self, answer: FramedAnswer, reason: LLMZooError) -> None:
        self._forget(answer, "aborted")
        if answer.read:
            # It is given up once its reader was told and has gone.
            answer.abort(reason)
        else:
            self._give_up(answer, "aborted")

    def _give_up(self, answer: FramedAnswer, outcome: Outcome) -> None:
        """Forget an answer without a reader, and all that is held for it."""
        self._forget(answer, outcome)
        answer.log.drop()
        answer.stop()

    def _forget(self, answer: FramedAnswer, outcome: Outcome) -> None:
        """Let nobody find an answer any more."""
        self._settle(answer, outcome)
        if self._answers.get(answer.id) is answer:
            del self._answers[answer.id]

    def _settle(self, answer: FramedAnswer, outcome: Outcome) -> None:
        """End the time for which an answer is kept; an orphan is none from here on."""
        timer = self._ends.pop(answer, None)
        if timer is None:
            return
        timer.cancel()
        if not answer.delivered:
            self._count_orphans(-1)
            self._metrics.count_orphan(outcome)
            log.info("orphan", outcome=outcome, answer=answer.id, request_id=answer.request_id)

    def _count_orphans(self, more: int) -> None:
        self._orphans += more
        self._metrics.orphans.set(self._orphans)
        if self._orphans:
            self._no_orphans.clear()
        else:
            self._no_orphans.set()
