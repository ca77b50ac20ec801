"""The roster's judgement, on a clock that the test turns."""

from __future__ import annotations

import pytest

from services.controller.fleet.lease import Lease
from services.controller.fleet.roster import MEMORY_SECONDS, RETURN_GRACE_SECONDS, Roster
from services.controller.routing.ask import Ask
from shared.errors import ModelNotFound, Unavailable
from shared.protocol.workers import Load, ModelInfo, ServiceRecord, State
from shared.registry import Snapshot
from shared.settings import ControllerSettings

TTL = 4.0


class Fleet:
    """A roster and the records that its next snapshot holds."""

    def __init__(self):
        self.roster = Roster(ControllerSettings(heartbeat_interval=1, heartbeat_ttl=TTL))
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


def lease(member, **ask):
    return Lease(member, "toy", Ask(**ask), lambda _: None)


def test_ours_are_counted_by_ourselves_and_others_by_report(fleet):
    fleet.beat("a", load=Load(running=1, waiting=2, max_num_seqs=4))
    fleet.snapshot()
    (member,) = fleet.roster.ready("toy")
    leases = [lease(member) for _ in range(3)]
    assert (member.occupied, member.inflight) == (6, 3)
    leases[0].release()
    leases[0].release()
    assert (member.occupied, member.inflight) == (5, 2)

    # A report that tells of ours alone: the others have ended.
    fleet.beat("a", load=Load(running=2, max_num_seqs=4))
    fleet.snapshot()
    assert (member.occupied, member.inflight) == (2, 2)
    for each in leases:
        each.release()
    assert (member.occupied, member.inflight) == (0, 0)


def test_what_ended_since_a_report_was_made_is_not_taken_for_others(fleet):
    fleet.beat("a")
    fleet.snapshot()
    (member,) = fleet.roster.ready("toy")
    lease(member, sequences=3).release()
    fleet.beat("a", load=Load(running=3, max_num_seqs=4))
    fleet.snapshot()
    assert member.occupied == 0


def test_a_lease_takes_its_work_along_when_it_goes(fleet):
    fleet.beat("a")
    fleet.snapshot()
    (member,) = fleet.roster.ready("toy")
    one = lease(member, prompt_tokens=1000, answer_tokens=50, sequences=2, chain=(1, 2, 3))
    again = lease(member, prompt_tokens=1000, answer_tokens=70, chain=(1, 2, 4))
    assert (member.prefill_backlog, member.decode_backlog) == (1000 + 1000 - 2 * 64, 120)
    assert member.held_blocks((1, 2, 3, 9)) == 3
    one.prefilled()
    one.prefilled()
    assert member.prefill_backlog == 1000 - 2 * 64
    for each in (one, again, one):
        each.release()
    assert (member.inflight, member.prefill_backlog, member.decode_backlog) == (0, 0, 0)
    assert not member.leases


def test_a_restarted_worker_begins_anew(fleet):
    fleet.beat("a")
    fleet.snapshot()
    (old,) = fleet.roster.ready("toy")
    held = lease(old)
    fleet.beat("a", incarnation="next")
    fleet.snapshot()
    (new,) = fleet.roster.ready("toy")
    held.release()
    assert new is not old
    assert (new.inflight, old.inflight) == (0, 0)


def test_a_fresh_worker_grows_into_its_share_and_an_old_one_has_it(fleet):
    fleet.beat("old", load=Load(max_num_seqs=4, tokens_per_second=100))
    fleet.snapshot()
    fleet.beat("old", load=Load(max_num_seqs=4, tokens_per_second=100))
    fleet.beat("new", load=Load(max_num_seqs=4))
    fleet.snapshot()
    rates = []
    for _ in range(12):
        fleet.beat("old", load=Load(max_num_seqs=4, tokens_per_second=90))
        fleet.beat("new", load=Load(max_num_seqs=4))
        fleet.snapshot()
        old, new = fleet.roster.ready("toy")
        assert old.decode_rate >= 0.89 * 100
        assert new.speed == new.ramp
        rates.append(new.decode_rate / old.decode_rate)
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates)
    assert rates[-1] == 1.0


def test_one_that_owes_beats_gets_nothing_while_others_beat(fleet):
    for name in "ab":
        fleet.beat(name)
    fleet.snapshot()
    for _ in range(3):
        fleet.beat("b")
        fleet.snapshot()
    assert fleet.ready == ["b"]
    del fleet.records["b"]
    fleet.snapshot("b", after=0.1)
    assert fleet.ready == ["a"]


def test_requests_at_one_that_owes_beats_are_told(fleet):
    fleet.beat("a")
    fleet.snapshot()
    (member,) = fleet.roster.ready("toy")
    told = []
    held = lease(member)
    held.lost = lambda: told.append(1)
    assert fleet.roster.silent() == []
    fleet.snapshot(after=2.6)
    for each in fleet.roster.silent():
        each.suspect()
    assert told
    held.release()
    assert fleet.roster.silent() == []


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

    fleet.beat("b", models=(ModelInfo(id="other"),))
    fleet.snapshot(after=MEMORY_SECONDS + 1)
    assert isinstance(fleet.roster.why_not("toy"), ModelNotFound)


def test_who_died_stays_a_scrape_target_for_ten_minutes_and_who_withdrew_does_not(fleet):
    for name in "ab":
        fleet.beat(name)
    fleet.snapshot()
    fleet.records.clear()
    fleet.snapshot("b", after=TTL)
    assert [member.record.id for member in fleet.roster.lost()] == ["a"]
    fleet.snapshot(after=MEMORY_SECONDS - 1)
    assert [member.record.id for member in fleet.roster.lost()] == ["a"]
    fleet.snapshot(after=2)
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
