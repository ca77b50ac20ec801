"""What is told of the served model, before it is there, then plain, then compressed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from services.worker.model_metrics import ModelCollector
from services.worker.served_model import Compression, ServedModel
from shared.http.operations import VERSION
from shared.protocol.workers import State
from tests.fakes.scripted_model import MODEL, scripted_model


class Measured:
    def __init__(self):
        self.state = State.STARTING
        self.served: ServedModel | None = None
        self.registry = CollectorRegistry()
        self.registry.register(ModelCollector(MODEL, lambda: self.state, lambda: self.served))

    def samples(self, name):
        return [
            sample
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == f"llmzoo_{name}"
        ]

    def value(self, name, **labels):
        return self.registry.get_sample_value(f"llmzoo_{name}", {"model": MODEL, **labels})


@pytest.fixture
def measured():
    return Measured()


@pytest.mark.parametrize("state", State)
def test_one_state_is_set_and_all_are_there(measured, state):
    measured.state = state
    told = {each.labels["state"]: each.value for each in measured.samples("worker_state")}
    assert told == {each.value: each is state for each in State}


def test_of_a_model_that_is_not_there_nothing_is_told(measured):
    for name in ("worker_info", "compression_ratio", "compression_bytes", "compression_seconds"):
        assert measured.samples(name) == []


def test_a_plain_model_has_facts_and_no_compression(measured):
    measured.served, _ = scripted_model()
    (info,) = measured.samples("worker_info")
    assert info.labels == {
        "model": MODEL,
        "device": "cpu",
        "dtype": "float32",
        "quantization": "none",
        "version": VERSION,
    }
    assert measured.samples("compression_ratio") == []


def test_a_compressed_one_tells_what_that_came_to(measured):
    served, _ = scripted_model()
    measured.served = replace(
        served, quantization="int8", compression=Compression(400, 100, seconds=2.5)
    )
    assert measured.samples("worker_info")[0].labels["quantization"] == "int8"
    assert measured.value("compression_ratio") == 4
    assert measured.value("compression_bytes", kind="original") == 400
    assert measured.value("compression_bytes", kind="packed") == 100
    assert measured.value("compression_seconds") == 2.5
