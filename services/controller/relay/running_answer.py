"""One answer under way, whichever worker gives it.

Owns the ledger and the present exchange: frames come out of it in one line, without a gap and
without a repetition, though workers change. When and whether they change is the mover's affair.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from services.controller.relay.call import Call
from services.controller.relay.exchange import Exchange
from services.controller.relay.ledger import Ledger
from services.controller.relay.loss import Cause, MoveAsked
from shared.errors import Conflict, Gone, LLMZooError
from shared.protocol.frames import Frame, LedgerFrame, StartFrame, TokensFrame


@dataclass(slots=True)
class Moved:
    """Where an answer went on, as its operator wished."""

    worker: str
    exact: bool


class RunningAnswer:
    """`take` its frames and `record` them; where taking fails, let it be moved; `close` it."""

    def __init__(
        self, call: Call, exchange: Exchange, start: StartFrame, base: LedgerFrame | None = None
    ) -> None:
        """Begin with an exchange whose worker has admitted the call; it is closed by `close`.

        `base` tells what came before, of an answer that another controller began.
        """
        self.call = call
        self.start = start
        self.exchange = exchange
        self.ledger = Ledger(self.start.choices)
        self.exact = True
        self.losses: Counter[Cause] = Counter()
        self.reattachments = self.resumptions = 0
        self.left: set[str] = set()
        self._fresh = True
        self._tokens_at_loss = -1
        self._lost_at = 0.0
        self._stalled: Callable[[float], None] | None = None
        self._asked: MoveAsked | None = None
        self._told: asyncio.Future[Moved] | None = None
        self._listener: Callable[[], None] | None = None
        if base is not None:
            self.ledger.begin(base)

    def take(self) -> list[Frame]:
        """Return the frames that have come; raises as `Exchange.take`, or MoveAsked."""
        if self._asked is not None:
            asked, self._asked = self._asked, None
            raise asked
        return self.exchange.take()

    async def read(self) -> list[Frame]:
        """Return the next frames, at least one; raises as `take`."""
        while not (frames := self.take()):
            await self.exchange.change()
        return frames

    @property
    def broken(self) -> bool:
        """Return whether nothing more will come of the present worker."""
        return self.exchange.broken

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever there may be something to take, whoever gives it."""
        self._listener = listener
        self.exchange.listen(listener)

    def record(self, frame: TokensFrame) -> bool:
        """Enter tokens into the ledger; False: they were there, and are not to be sent again.

        Raises:
            MalformedFrames: a frame is missing before this one.
            UpstreamFailed: there are too many tokens.
        """
        if self._fresh:
            self._note_first()
        return self.ledger.record(frame)

    def note_loss(self) -> None:
        """Note that the present worker gives nothing more; the stall begins with its last byte."""
        if self._stalled is None:
            self._lost_at = self.exchange.heard_at
        if self.ledger.total > self._tokens_at_loss:
            self._tokens_at_loss = self.ledger.total
            self.reattachments = 0

    def forget(self) -> None:
        """Begin anew: nothing of what came was sent."""
        self.ledger = Ledger(self.start.choices)
        self._tokens_at_loss = -1

    def go_on(
        self, exchange: Exchange, stalled: Callable[[float], None], *, exact: bool = True
    ) -> None:
        """Have the rest from there; `stalled` is told for how long no token came."""
        if exchange is not self.exchange:
            self.exchange.close()
            self.exchange = exchange
            self._grant(exchange.worker.id, exact)
        self.exact &= exact
        self._fresh = True
        self._stalled = stalled
        if self._listener is not None:
            exchange.listen(self._listener)

    def ask_to_move(self, target: str) -> asyncio.Future[Moved]:
        """Have it go on at another worker, `target` unless that is empty; done when it does.

        Raises:
            Conflict: it is being moved already.
        """
        if self._told is not None and not self._told.done():
            msg = "The request is being moved already."
            raise Conflict(msg, param="request_id")
        self._told = asyncio.get_running_loop().create_future()
        self._asked = MoveAsked("An operator moves the request.", param=target or None)
        if self._listener is not None:
            self._listener()
        self.exchange.wake()
        return self._told

    def stay(self, refusal: LLMZooError) -> None:
        """Tell the operator why it goes on where it is, or does not go on."""
        if self._told is not None and not self._told.done():
            self._told.set_exception(refusal)

    def _grant(self, worker: str, exact: bool) -> None:
        """Tell the operator, unless the answer has moved for another reason, and elsewhere."""
        if self._told is None or self._told.done():
            return
        if self._asked is not None and self._asked.param not in {None, worker}:
            return
        self._asked = None
        self._told.set_result(Moved(worker, exact))

    def _note_first(self) -> None:
        """Note the first token of an exchange."""
        self._fresh = False
        self.exchange.note_token()
        if self._stalled is not None:
            self._stalled(asyncio.get_running_loop().time() - self._lost_at)
            self._stalled = None

    def close(self) -> None:
        """Give everything back."""
        self.exchange.close()
        self.stay(Gone("The request has ended meanwhile.", param="request_id"))
