"""What is sent to a worker for a call: at first its own body, later what lets another go on with it.

Owns the three forms. Knows no connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.controller.relay.call import Call
from services.controller.relay.ledger import Ledger
from services.controller.upstream.origin import header_block
from shared.http.request_id import HEADER
from shared.protocol.attach import ATTACH_PATH, KEY_HEADER, encode_attach
from shared.protocol.body import parse_object
from shared.protocol.frames import REQUEST_HEADER, StartFrame
from shared.protocol.priority import PRIORITY_HEADER, Priority
from shared.protocol.resume import RESUME_PATH, encode_resume


@dataclass(slots=True)
class Errand:
    """One request to one worker.

    Attributes:
        path: of the worker's route.
        headers: lines, as the pool takes them.
        body: its bytes.
        deadline: when it has to be over, in seconds of the monotonic clock.
    """

    path: str
    headers: bytes
    body: bytes
    deadline: float


class Errands:
    """Makes them, with the headers that all of this controller's have."""

    def __init__(self, authorization: dict[str, str]) -> None:
        """Prepare; `authorization` is the header that workers ask for."""
        common = {"content-type": "application/json", REQUEST_HEADER: "1", **authorization}
        self._headers = {
            priority: header_block([*common.items(), (PRIORITY_HEADER, priority.header)])
            for priority in Priority
        }

    def first(self, call: Call) -> Errand:
        """Return the call itself."""
        return self._errand(call, call.path, call.body)

    def resumed(self, call: Call, start: StartFrame, ledger: Ledger) -> Errand:
        """Return what lets any worker of the model go on behind the ledger."""
        body = encode_resume(
            call.path,  # type: ignore[arg-type]
            call.body,
            start,
            ledger.choices(start.choices),
            ledger.last_sequence_number,
            deterministic=start.deterministic,
        )
        return self._errand(call, RESUME_PATH, body)

    def attached(self, call: Call, answer: str, after: int) -> Errand:
        """Return what lets the worker that has the answer go on behind its frame `after`."""
        body = encode_attach(answer, after, call.key, parse_object(call.body))
        return self._errand(call, ATTACH_PATH, body)

    def _errand(self, call: Call, path: str, body: bytes) -> Errand:
        own = [(HEADER, call.id), *call.trace.headers.items()]
        if call.key:
            own.append((KEY_HEADER, call.key))
        return Errand(path, self._headers[call.priority] + header_block(own), body, call.deadline)
