"""The mock engine on the event loop: one timer a step, and the answers that it feeds."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque

from services.worker.engine.token_rate import TokenRate
from shared.errors import ContextTooLong, InvalidRequest, NotFound, Overloaded, Unavailable
from shared.protocol.attach import AttachRequest, body_digest
from shared.protocol.frames import HANDED_BACK
from shared.protocol.workers import Load
from tests.fakes.mock.answer import Answer
from tests.fakes.mock.reader import Reader
from tests.fakes.mock.scheduler import Costs, Full, Scheduler, Step, TooLong

_KEPT_RELEASES = 50_000
_MOST_FINISHED = 4_096
_TICK_SECONDS = 0.25
_MOST_LAG_SECONDS = 0.05


class MockEngine:
    """Steps as long as there is something to compute."""

    def __init__(self, costs: Costs, orphan_grace: float = 10.0) -> None:
        self.costs = costs
        self.orphan_grace = orphan_grace
        self.scheduler: Scheduler[Answer] = Scheduler(costs)
        self.counts: Counter[str] = Counter()
        self.released: deque[tuple[str, float]] = deque(maxlen=_KEPT_RELEASES)
        """Marker of each request that left, and when, by the monotonic clock."""
        self._answers: set[Answer] = set()
        self._held: dict[str, Answer] = {}
        """Framed answers that may be taken over, by id; also those that are finished."""
        self._finished: deque[Answer] = deque()
        self._stepping = False
        self._emitted_at = 0.0
        self._rate = TokenRate()
        self._ticker: asyncio.TimerHandle | None = None

    @property
    def answers(self) -> int:
        """How many requests are under way."""
        return len(self._answers)

    def start(self) -> None:
        """Send keepalives from now on, and forget what nobody has come back for."""
        now = time.monotonic()
        for answer in self._answers:
            if answer.framed and answer.reader is not None:
                answer.reader.keep_alive(now)
        for answer in [held for held in self._held.values() if held.forget_at <= now]:
            self.drop(answer, "expired")
        self._ticker = asyncio.get_running_loop().call_later(_TICK_SECONDS, self.start)

    def stop(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()

    def load(self) -> Load:
        """Return how busy it is; safe to call from the heartbeat's thread."""
        running = len(self.scheduler.running)
        return Load(
            running=running,
            waiting=self.scheduler.waiting,
            max_num_seqs=self.costs.max_num_seqs,
            kv_tokens_used=self.scheduler.kv_tokens_used,
            kv_tokens_total=self.costs.kv_tokens,
            tokens_per_second=self._rate.tokens_per_second,
            prefill_tokens_per_second=self._rate.prefill_tokens_per_second,
            last_step_age=max(0.0, time.monotonic() - self._emitted_at) if running else 0.0,
        )

    def enter(self, answer: Answer) -> None:
        """Let a request wait for its turn.

        Raises:
            Overloaded, ContextTooLong: it may not.
        """
        try:
            self.scheduler.add(answer.sequences)
        except Full:
            raise Overloaded("All places are taken.", retry_after=self._retry_after()) from None
        except TooLong:
            raise ContextTooLong("The KV cache does not hold that much.") from None
        self.counts["admitted"] += 1
        self._answers.add(answer)
        if answer.framed:
            former = self._held.get(answer.request.id)
            if former is not None:
                self.drop(former, "superseded")
            self._held[answer.request.id] = answer

    def go_on(self) -> None:
        """Begin the next step, if none runs and there is one."""
        if not self._stepping:
            self._begin(asyncio.get_running_loop().time())

    def attach(self, asked: AttachRequest, reader: Reader, known_as: str) -> Answer:
        """Let `reader` take an answer over.

        Raises:
            NotFound: there is none for this key, or not from there on.
            InvalidRequest: it answers another body, or has not come so far.
        """
        answer = self._held.get(asked.answer)
        if answer is None or answer.key != asked.key or asked.after < answer.first:
            raise NotFound("There is no such answer here.", code="answer_not_found")
        if body_digest(answer.request.body) != asked.body_digest:
            raise InvalidRequest("The answer is to another request.", param="body_digest")
        if asked.after > answer.number:
            raise InvalidRequest("The answer has not come so far.", param="after")
        self.counts["attached"] += 1
        answer.forget_at = self._forget_at() if answer.done else math.inf
        answer.hand_over(reader, known_as, asked.after)
        return answer

    def lose(self, answer: Answer, reader: Reader) -> None:
        """Note that a reader's connection has closed; one that was replaced is of no interest."""
        if answer.reader is not reader:
            return
        if not answer.framed:
            self.drop(answer, "gone")
        elif not answer.done:
            self.counts["orphaned"] += 1
            answer.reader = None
            answer.forget_at = self._forget_at()

    def abort(self, known_as: str) -> None:
        """End a request that is known by this id; an unknown one is no fault."""
        for answer in (*self._answers, *self._held.values()):
            if known_as in (answer.known_as, answer.request.id):
                under_way = answer in self._answers
                self.drop(answer, "aborted")
                if under_way:
                    answer.fail(Unavailable("The request was aborted.", code="aborted"))

    def hand_back(self) -> None:
        """End everything, so that it goes on elsewhere."""
        for answer in tuple(self._answers):
            self.drop(answer, "handed_back")
            code = HANDED_BACK if answer.framed else None
            answer.fail(Unavailable("The worker stops.", code=code, retry_after=1.0))

    def drop(self, answer: Answer, why: str) -> None:
        """Take a request out before its end, or forget it after; a second call does nothing."""
        if self._held.get(answer.request.id) is answer:
            del self._held[answer.request.id]
        if answer in self._answers:
            for sequence in answer.sequences:
                self.scheduler.remove(sequence)
            self._leave(answer, why)

    def settle(self, answer: Answer) -> None:
        """Send what a request has to say, and let it go if that was all."""
        answer.flush()
        if answer.done and answer in self._answers:
            self.scheduler.keep(answer.request.chain_with(answer.text(0)))
            self._leave(answer, "completed")
            if answer.framed:
                answer.forget_at = self._forget_at()
                self._finished.append(answer)
                if len(self._finished) > _MOST_FINISHED:
                    self.drop(self._finished.popleft(), "forgotten")

    def _begin(self, now: float) -> None:
        step = self.scheduler.plan()
        self._stepping = step is not None
        if step is not None:
            ends = now + step.seconds
            asyncio.get_running_loop().call_at(ends, self._finish, step, ends)

    def _finish(self, step: Step[Answer], ended: float) -> None:
        self._emitted_at = time.monotonic()
        emitted = self.scheduler.finish(step)
        for sequence in emitted:
            sequence.owner.token(sequence)
        for answer in dict.fromkeys(sequence.owner for sequence in emitted):
            self.settle(answer)
        self.counts["generated"] += len(emitted)
        prefilled = sum(tokens for _, tokens in step.prefill)
        self._rate.count_step(len(emitted), step.seconds, prefilled)
        # The next step begins when this one should have ended, and not when the loop had time
        # for it; but a loop that was held up for long does not make up for it in a rush.
        self._begin(max(ended, asyncio.get_running_loop().time() - _MOST_LAG_SECONDS))

    def _leave(self, answer: Answer, why: str) -> None:
        self._answers.discard(answer)
        self.released.append((answer.request.marker, time.monotonic()))
        self.counts[why] += 1
        for sequence in answer.sequences:
            if sequence.computed:
                self.counts["prompt_tokens"] += sequence.prompt_tokens
                self.counts["hit_tokens"] += sequence.hit_tokens
                if answer.first:
                    self.counts["prefilled_again"] += sequence.computed - sequence.hit_tokens

    def _forget_at(self) -> float:
        return time.monotonic() + self.orphan_grace

    def _retry_after(self) -> float:
        """Return when the first of those that run is whole, in seconds."""
        running = self.scheduler.running
        left = min((s.max_tokens - s.done for s in running), default=0)
        step = self.costs.step_seconds + self.costs.sequence_seconds * len(running)
        return max(1.0, left * step)
