"""A request's place on a worker: counted in when it is sent, out when it has ended.

Owns the bookkeeping on the member and on its breaker, so that whatever becomes of a request its
traces go with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.controller.fleet.member import Member
from services.controller.routing.ask import BLOCK_TOKENS, Ask


class Lease:
    """One request's place on one member; given back exactly once."""

    __slots__ = ("_ask", "_given_back", "_prefill", "_probe", "_told", "lost", "member", "model")

    def __init__(
        self, member: Member, model: str, ask: Ask, given_back: Callable[[Lease], None]
    ) -> None:
        """Count a request for `model` in; `given_back` is called once it has been counted out."""
        self.member = member
        self.model = model
        self.lost: Callable[[], None] | None = None
        self._ask = ask
        self._given_back: Callable[[Lease], None] | None = given_back
        held = member.held_blocks(ask.chain) * BLOCK_TOKENS if ask.chain else 0
        self._prefill = max(0, ask.prompt_tokens - held)
        self._told = False
        self._probe = member.breaker.enter()
        member.chosen_at = now = time.monotonic()
        member.leases.add(self)
        member.inflight += ask.sequences
        member.prefill_inflight += self._prefill
        member.decode_inflight += ask.answer_tokens
        if ask.chain:
            member.prefix_queries += ask.prompt_tokens
            member.prefix_hits += min(held, ask.prompt_tokens)
            member.prefixes.send(ask.chain, now)

    @property
    def sequences(self) -> int:
        """Places on the worker that it stands for."""
        return self._ask.sequences

    def prefilled(self) -> None:
        """Note that a token came: the prompt is no work any more."""
        self.member.prefill_inflight -= self._prefill
        self._prefill = 0

    def succeeded(self) -> None:
        """Note that the worker did its part: it answered, or refused what was at fault."""
        self._told = True
        self.member.breaker.succeed()

    def failed(self, *, certain: bool = False) -> None:
        """Note a fault of the worker's; `certain`: it would meet any other request as well."""
        self._told = True
        self.member.breaker.fail(time.monotonic(), probe=self._probe, certain=certain)

    def release(self) -> None:
        """Count the request out; a second call does nothing."""
        given_back, self._given_back = self._given_back, None
        if given_back is None:
            return
        member = self.member
        if not self._told:
            member.breaker.abandon(probe=self._probe)
        member.leases.discard(self)
        member.inflight -= self._ask.sequences
        member.prefill_inflight -= self._prefill
        member.decode_inflight -= self._ask.answer_tokens
        given_back(self)
