"""What the fleet's metrics tell of workers that come, go and are many."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry

from services.controller.fleet.metrics import FleetCollector
from services.controller.fleet.roster import Roster
from shared.metrics import MOST_MODELS, OTHER
from shared.protocol.workers import ModelInfo, ServiceRecord, State
from shared.registry import Snapshot
from shared.settings import ControllerSettings


class Measured:
    """A roster, and what is measured of it."""

    def __init__(self):
        self.roster = Roster(ControllerSettings())
        self.registry = CollectorRegistry()
        FleetCollector(self.roster, self.registry)
        self.beats = 0

    def see(self, *workers, ago=0.0):
        """Take a snapshot of these: names, states and models; the others have withdrawn."""
        self.beats += 1
        records = tuple(
            ServiceRecord(
                id=name,
                kind="worker",
                address="http://127.0.0.1:1",
                incarnation="i",
                beat=self.beats,
                state=state,
                models=tuple(ModelInfo(id=model) for model in models),
            )
            for name, state, *models in workers
        )
        gone = {member.id for member in self.roster.members()}
        self.roster.apply(Snapshot(records, {}), gone, time.monotonic() - ago)

    def labels(self, name, label):
        return {
            sample.labels[label]
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name
        }

    def workers(self, state, model):
        labels = {"state": state, "model": model}
        return self.registry.get_sample_value("llmzoo_workers", labels)


def test_each_model_has_all_states():
    measured = Measured()
    measured.see(
        ("a", State.READY, "x"), ("b", State.LOADING, "x"), ("c", State.READY, "x"), ("d", "ready")
    )
    assert (measured.workers("ready", "x"), measured.workers("loading", "x")) == (2, 1)
    assert measured.workers("draining", "x") == 0
    assert measured.labels("llmzoo_workers", "model") == {"x"}


def test_before_any_worker_there_are_zeros_to_sum_up():
    measured = Measured()
    assert {measured.workers(state, "") for state in State} == {0}


def test_a_model_without_workers_stays_at_zero_and_its_workers_series_go():
    measured = Measured()
    measured.see(("a", State.READY, "x"), ("b", State.READY, "y"))
    measured.see(("b", State.READY, "y"))
    assert measured.workers("ready", "x") == 0
    for name in ("heartbeat_age_seconds", "inflight", "breaker_state", "breaker_opened_total"):
        assert measured.labels(f"llmzoo_worker_{name}", "worker") == {"b"}


def test_the_age_of_a_beat_is_told():
    measured = Measured()
    measured.see(("a", State.READY, "x"), ago=2.0)
    age = measured.registry.get_sample_value("llmzoo_worker_heartbeat_age_seconds", {"worker": "a"})
    assert 2.0 <= age < 12.0


def test_models_beyond_the_bound_share_one_label():
    measured = Measured()
    many = [f"m{number:05}" for number in range(MOST_MODELS + 300)]
    measured.see(("a", State.READY, *many))
    assert len(measured.labels("llmzoo_workers", "model")) == MOST_MODELS + 1
    assert measured.workers("ready", OTHER) == 300
