"""The mock engine on the event loop: one timer a step, and the answers that it feeds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque

from services.worker.engine.token_rate import TokenRate
from shared.errors import ContextTooLong, Overloaded, Unavailable
from shared.protocol.workers import Load
from tests.fakes.mock.answer import Answer
from tests.fakes.mock.scheduler import Costs, Full, Scheduler, Step, TooLong

_KEPT_RELEASES = 50_000
_TICK_SECONDS = 0.25
_MOST_LAG_SECONDS = 0.05


class MockEngine:
    """Steps as long as there is something to compute."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.scheduler: Scheduler[Answer] = Scheduler(costs)
        self.counts: Counter[str] = Counter()
        self.released: deque[tuple[str, float]] = deque(maxlen=_KEPT_RELEASES)
        """Marker of each request that left, and when, by the monotonic clock."""
        self._answers: set[Answer] = set()
        self._stepping = False
        self._emitted_at = 0.0
        self._rate = TokenRate()
        self._ticker: asyncio.TimerHandle | None = None

    @property
    def answers(self) -> int:
        """How many requests are under way."""
        return len(self._answers)

    def start(self) -> None:
        """Send keepalives from now on."""
        now = time.monotonic()
        for answer in self._answers:
            answer.keep_alive(now)
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

    def go_on(self) -> None:
        """Begin the next step, if none runs and there is one."""
        if not self._stepping:
            self._begin(asyncio.get_running_loop().time())

    def abort(self, known_as: str) -> None:
        """End a request that is known by this id; an unknown one is no fault."""
        for answer in tuple(self._answers):
            if known_as in {answer.known_as, answer.request.id}:
                self.drop(answer, "aborted")
                answer.fail(Unavailable("The request was aborted.", code="aborted"))

    def drop(self, answer: Answer, why: str) -> None:
        """Take a request out before its end; a second call does nothing."""
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

    def _retry_after(self) -> float:
        """Return when the first of those that run is whole, in seconds."""
        running = self.scheduler.running
        left = min((s.max_tokens - s.done for s in running), default=0)
        step = self.costs.step_seconds + self.costs.sequence_seconds * len(running)
        return max(1.0, left * step)
