"""The roster's judgement, on a clock that the test turns."""

from __future__ import annotations

import pytest

from services.controller.fleet.member import Lease
from services.controller.fleet.roster import MEMORY_SECONDS, RETURN_GRACE_SECONDS, Roster
from shared.errors import ModelNotFound, Unavailable
from shared.protocol.workers import Load, ModelInfo, ServiceRecord, State
from shared.registry import Snapshot
from shared.settings import FleetSettings

TTL = 4.0


class Fleet:
    """A roster and the records that its next snapshot holds."""

    def __init__(self):
        self.roster = Roster(FleetSettings(heartbeat_interval=1, heartbeat_ttl=TTL))
        self.now = 1000.0
        self.records = {}
        self.beats = {}

    def beat(self, name, incarnation="i", **fields):
        """Let a worker write its record anew."""
        self.beats[name] = self.beats.get(name, 0) + 1
        base = {
            "kind": "worker",
            "address": "http://127.0.0.1:1",
            "state": State.READY,
            "models": (ModelInfo(id="toy"),),
            "load": Load(max_num_seqs=4),
        }
        self.records[name] = ServiceRecord(
            id=name, incarnation=incarnation, beat=self.beats[name], **{**base, **fields}
        )

    def snapshot(self, *changed, after=1.0):
        self.now += after
        snapshot = Snapshot(tuple(self.records.values()), {})
        self.roster.apply(snapshot, set(changed), self.now)

    @property
    def ready(self):
        return [member.record.id for member in self.roster.ready("toy")]


@pytest.fixture
def fleet():
    return Fleet()


def test_a_ready_worker_is_a_candidate(fleet):
    fleet.beat("a")
    fleet.snapshot()
    assert fleet.ready == ["a"]


@pytest.mark.parametrize("state", [state for state in State if state is not State.READY])
def test_no_other_state_is(fleet, state):
    fleet.beat("a", state=state)
    fleet.snapshot()
    assert fleet.ready == []


def test_a_withdrawn_one_goes_at_once(fleet):
    fleet.beat("a")
    fleet.snapshot()
    del fleet.records["a"]
    fleet.snapshot("a", after=0.1)
    assert fleet.ready == []


def test_one_that_vanished_with_redis_data_stays_for_a_moment(fleet):
    fleet.beat("a")
    fleet.snapshot()
    del fleet.records["a"]
    fleet.snapshot(after=1.2)
    assert fleet.ready == ["a"]
    fleet.snapshot(after=TTL)
    assert fleet.ready == []


def test_one_that_stays_in_redis_without_beating_is_stale(fleet):
    fleet.beat("a")
    fleet.snapshot()
    fleet.snapshot(after=TTL)
    assert fleet.ready == ["a"]
    fleet.snapshot(after=TTL)
    assert fleet.ready == []
    fleet.beat("a")
    fleet.snapshot()
    assert fleet.ready == ["a"]


def test_while_redis_is_away_nobody_expires(fleet):
    fleet.beat("a")
    fleet.snapshot()
    fleet.roster.lose_registry()
    fleet.now += 10_000
    assert fleet.ready == ["a"]


def test_after_an_outage_everybody_gets_time_to_beat(fleet):
    for name in "ab":
        fleet.beat(name)
    fleet.snapshot()
    fleet.roster.lose_registry()
    fleet.records.clear()
    fleet.snapshot(after=100)
    assert fleet.ready == ["a", "b"]
    fleet.beat("a")
    fleet.snapshot(after=RETURN_GRACE_SECONDS)
    assert fleet.ready == ["a", "b"]
    fleet.beat("a")
    fleet.snapshot(after=TTL)
    assert fleet.ready == ["a"]


def test_pressure_counts_what_was_sent_since_the_report(fleet):
    fleet.beat("a", load=Load(running=1, waiting=2, max_num_seqs=4))
    fleet.snapshot()
    (member,) = fleet.roster.ready("toy")
    leases = [Lease(member) for _ in range(3)]
    assert member.pressure == 6 / 4
    leases[0].release()
    leases[0].release()
    assert (member.pressure, member.inflight) == (5 / 4, 2)

    fleet.beat("a", load=Load(running=2, max_num_seqs=4))
    fleet.snapshot()
    assert (member.pressure, member.inflight) == (2 / 4, 2)
    for lease in leases:
        lease.release()
    assert (member.pressure, member.inflight) == (2 / 4, 0)


def test_a_restarted_worker_begins_anew(fleet):
    fleet.beat("a")
    fleet.snapshot()
    (old,) = fleet.roster.ready("toy")
    lease = Lease(old)
    fleet.beat("a", incarnation="next")
    fleet.snapshot()
    (new,) = fleet.roster.ready("toy")
    lease.release()
    assert new is not old
    assert (new.inflight, old.inflight) == (0, 0)


def test_an_older_beat_says_nothing(fleet):
    fleet.beat("a", state=State.DRAINING)
    fleet.beat("a")
    newer = fleet.records["a"]
    fleet.snapshot()
    fleet.beats["a"] = 0
    fleet.beat("a", state=State.DRAINING)
    fleet.snapshot()
    (member,) = fleet.roster.ready("toy")
    assert member.record == newer


def test_why_a_model_is_not_there(fleet):
    assert isinstance(fleet.roster.why_not("toy"), Unavailable)
    fleet.snapshot()
    assert isinstance(fleet.roster.why_not("toy"), Unavailable)
    fleet.beat("a", models=(ModelInfo(id="other"),))
    fleet.snapshot()
    fault = fleet.roster.why_not("toy")
    assert isinstance(fault, ModelNotFound)
    assert fault.param == "model"
    fleet.beat("b", state=State.LOADING, progress=0.43)
    fleet.snapshot()
    fault = fleet.roster.why_not("toy")
    assert isinstance(fault, Unavailable)
    assert "43" in fault.message
    assert fault.retry_after


def test_a_gone_model_is_remembered_for_a_while(fleet):
    fleet.beat("a")
    fleet.beat("b", models=(ModelInfo(id="other"),))
    fleet.snapshot()
    del fleet.records["a"]
    fleet.snapshot("a")
    assert isinstance(fleet.roster.why_not("toy"), Unavailable)
    assert [member.record.id for member in fleet.roster.lost()] == ["a"]

    fleet.beat("b", models=(ModelInfo(id="other"),))
    fleet.snapshot(after=MEMORY_SECONDS + 1)
    assert isinstance(fleet.roster.why_not("toy"), ModelNotFound)
    assert list(fleet.roster.lost()) == []


def test_of_several_workers_the_furthest_tells_a_models_state(fleet):
    fleet.beat("a", state=State.DOWNLOADING, progress=0.1)
    fleet.beat("b", state=State.WARMING)
    fleet.beat("c", state=State.DRAINING)
    fleet.snapshot()
    known = fleet.roster.models()["toy"]
    assert (known.state, known.progress) == (State.WARMING, None)


def test_other_services_are_members_and_no_candidates(fleet):
    fleet.beat("webui-1", kind="webui", models=())
    fleet.snapshot()
    assert fleet.ready == []
    assert [member.record.kind for member in fleet.roster.members()] == ["webui"]
