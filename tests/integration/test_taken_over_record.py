"""Two processes of one name in the registry, as when one takes the other's port over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from shared.protocol.workers import ServiceRecord, State
from shared.registry import Heartbeat, HeartbeatMetrics, keys
from shared.registry.record import own_record, verify
from shared.settings import FleetSettings
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import block_until
from tests.integration.conftest import fleet_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import RedisServer

pytestmark = pytest.mark.redis

IDENTITY = own_record("controller", "http://127.0.0.1:8000")


class Process:
    """What one process says of itself."""

    def __init__(self, settings: FleetSettings, started_at: int) -> None:
        self.record = IDENTITY.model_copy(update={"started_at": started_at, "state": State.READY})
        self.beats = 0
        metrics = HeartbeatMetrics(CollectorRegistry())
        self.heartbeat = Heartbeat(settings, self._told, metrics)
        self.heartbeat.start()
        self.goes_on()

    def _told(self) -> ServiceRecord:
        self.beats += 1
        return self.record

    def goes_on(self) -> None:
        """Wait until it has beaten some times more, whether that was written or not."""
        before = self.beats
        block_until(lambda: self.beats > before + 2)


@pytest.fixture
def process(redis_server: RedisServer) -> Iterator[Callable[[int], Process]]:
    """Return a function that starts a process, begun at this second."""
    settings = FleetSettings(**fleet_settings(redis_server.url))
    made: list[Process] = []

    def start(started_at: int) -> Process:
        made.append(Process(settings, started_at))
        return made[-1]

    yield start
    for each in made:
        if each.heartbeat.alive:
            each.heartbeat.stop()


@pytest.fixture
def announced(redis_server: RedisServer) -> Iterator[Callable[[], str | None]]:
    """Return a function that gives the incarnation that stands in the registry."""
    with redis.Redis.from_url(redis_server.url) as client:

        def incarnation() -> str | None:
            signed = client.get(keys.service(IDENTITY.id))
            return None if signed is None else verify(signed, TOKEN).incarnation

        yield incarnation


def test_the_one_that_began_later_is_announced_whatever_the_other_says(process, announced) -> None:
    old, new = process(100), process(101)
    for state in (State.READY, State.DRAINING):
        old.record = old.record.model_copy(update={"state": state})
        for _ in range(3):
            old.goes_on()
            assert announced() == new.heartbeat.incarnation

    old.heartbeat.stop()
    assert announced() == new.heartbeat.incarnation


def test_the_old_one_is_announced_again_when_the_new_one_goes(process, announced) -> None:
    with capture_logs() as logs:
        old, new = process(100), process(101)
        old.goes_on()
        new.heartbeat.stop()
        block_until(lambda: announced() == old.heartbeat.incarnation)
    # Nobody else could tell why it was not there.
    told = [entry for entry in logs if entry["event"].startswith("not announced")]
    assert [entry["name"] for entry in told] == [IDENTITY.id]


def test_one_that_ends_withdraws_even_of_the_same_second_only_itself(process, announced) -> None:
    old, new = process(100), process(100)
    old.heartbeat.stop()
    new.goes_on()
    assert announced() == new.heartbeat.incarnation
    new.heartbeat.stop()
    assert announced() is None
