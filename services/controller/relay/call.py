"""A client's request, as far as the controller looks into it."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.controller.relay.deadline import NO_DEADLINE
from services.controller.relay.trace import NO_TRACE, Trace
from services.controller.routing.ask import Ask
from shared.protocol.event_id import EventId
from shared.protocol.priority import Priority


# Not frozen, as all that a request makes: a frozen one takes three times as long to make.
@dataclass(slots=True)
class Call:
    """What is sent to a worker, and what decides to which and when.

    Attributes:
        id: the request's on workers and in logs.
        path: of the route, the same on a worker.
        model: that is asked for.
        stream: whether the answer comes as events.
        body: goes on unchanged.
        arrived: when its last byte came, in seconds of the monotonic clock.
        priority: the class it is served in.
        key: id of the API key; requests of one key wait in line behind each other.
        session: what calls belong together, as the client names it; empty: nothing.
        deadline: when it has to be over, on the same clock.
        ask: its size and beginning.
        trace: that it is a part of.
        facts: what its line in the log tells beside; see `facts_of`.
        last_event: behind which an answer is to go on that another controller began.
    """

    id: str
    path: str
    model: str
    stream: bool
    body: bytes
    arrived: float
    priority: Priority = Priority.INTERACTIVE
    key: str = ""
    session: str = ""
    deadline: float = NO_DEADLINE
    ask: Ask = field(default_factory=Ask)
    trace: Trace = NO_TRACE
    facts: dict[str, object] = field(default_factory=dict[str, object])
    last_event: EventId | None = None
