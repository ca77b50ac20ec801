"""What is sent to a worker for a call: at first its own body, later what lets another go on with it.

Owns its forms. Knows no connection.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from services.controller.relay.call import Call
from services.controller.relay.ledger import Ledger
from services.controller.upstream.origin import header_block
from shared.protocol.attach import ATTACH_PATH, KEY_HEADER, encode_attach
from shared.protocol.body import parse_object
from shared.protocol.frames import REQUEST_HEADER, StartFrame
from shared.protocol.priority import PRIORITY_HEADER, Priority
from shared.protocol.request_id import REQUEST_ID_HEADER
from shared.protocol.resume import RESUME_PATH, encode_resume

MOST_ID_LETTERS = 100
"""Of a request's id where something follows it; workers take ids of up to 128."""


@dataclass(slots=True)
class Errand:
    """One request to one worker.

    Attributes:
        request_id: under which the worker knows it, and can be told to abort it.
        path: of the worker's route.
        headers: lines, as the pool takes them.
        body: its bytes.
        key: id of the API key that it is sent for.
        deadline: when it has to be over, in seconds of the monotonic clock.
        first: nothing was sent for the call before.
    """

    request_id: str
    path: str
    headers: bytes
    body: bytes
    key: str
    deadline: float
    first: bool = False


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
        errand = self._errand(call, call.id, call.path, call.body)
        errand.first = True
        return errand

    def again(self, call: Call, number: int) -> Errand:
        """Return the call itself once more, for an answer that begins anew.

        It has an id of its own for each `number`: the abort of one that was lost may come late,
        and must not end the one that follows at the same worker.
        """
        return self._errand(call, _numbered(call, number), call.path, call.body)

    def resumed(self, call: Call, start: StartFrame, ledger: Ledger, number: int) -> Errand:
        """Return what lets any worker of the model go on behind the ledger; `number` as `again`."""
        body = encode_resume(
            call.path,  # type: ignore[arg-type]
            call.body,
            start,
            ledger.choices(start.choices),
            ledger.last_sequence_number,
            deterministic=start.deterministic,
        )
        return self._errand(call, _numbered(call, number), RESUME_PATH, body)

    def attached(self, call: Call, answer: str, after: int) -> Errand:
        """Return what lets the worker that has the answer go on behind its frame `after`.

        Its id is nobody else's: a client that comes back under the id that it had may come before
        the abort of the controller that it has left.
        """
        body = encode_attach(answer, after, call.key, parse_object(call.body))
        own_id = f"{call.id[:MOST_ID_LETTERS]}.{secrets.token_hex(4)}"
        return self._errand(call, own_id, ATTACH_PATH, body)

    def _errand(self, call: Call, request_id: str, path: str, body: bytes) -> Errand:
        own = [(REQUEST_ID_HEADER, request_id), *call.trace.headers.items()]
        if call.key:
            own.append((KEY_HEADER, call.key))
        headers = self._headers[call.priority] + header_block(own)
        return Errand(request_id, path, headers, body, call.key, call.deadline)


def _numbered(call: Call, number: int) -> str:
    return f"{call.id[:MOST_ID_LETTERS]}.{number}"
