"""The GPUs' metrics as they are scraped."""

from __future__ import annotations

import threading
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.worker.gpus.collector import GpuCollector
from tests.fakes.fake_nvml import GIB, UNKNOWN
from tests.fakes.scrape import sample

NAMES = {
    "llmzoo_worker_gpu_info",
    "llmzoo_gpu_memory_bytes",
    "llmzoo_gpu_utilization_ratio",
    "llmzoo_gpu_temperature_celsius",
}


class Scraped:
    def __init__(self, nvml, gpus):
        self.now = 100.0
        self.registry = CollectorRegistry()
        self.collector = GpuCollector(nvml, lambda: gpus, lambda: self.now)
        self.registry.register(self.collector)

    def text(self, after=2.0) -> str:
        self.now += after
        return generate_latest(self.registry).decode()


@pytest.fixture
def scraped(host):
    host.has(
        {"uuid": "GPU-a", "memory": 24, "used": 4, "use": 50, "celsius": 61},
        {"uuid": "GPU-b", "memory": 80, "use": 100, "celsius": 80},
    )
    return Scraped(host.nvml, ("GPU-a",))


def test_a_leased_gpu_of_two(scraped):
    text = scraped.text()

    assert [
        sample(text, "llmzoo_gpu_memory_bytes", gpu="0", kind=kind)
        for kind in ("used", "free", "total")
    ] == [4 * GIB, 20 * GIB, 24 * GIB]
    assert sample(text, "llmzoo_gpu_utilization_ratio", gpu="0") == 0.5
    assert sample(text, "llmzoo_gpu_temperature_celsius", gpu="0") == 61
    assert sample(text, "llmzoo_worker_gpu_info", gpu="0", uuid="GPU-a") == 1
    assert 'name="Fake GPU"' in text
    assert 'gpu="1"' not in text
    assert "GPU-b" not in text


def test_names_are_told_without_a_scrape(scraped):
    assert {family.name for family in scraped.collector.describe()} == NAMES


@pytest.mark.parametrize(
    "faults", [{"fault": UNKNOWN}, {"fault_later": UNKNOWN}], ids=["opening", "midway"]
)
def test_absent_while_nvml_fails(scraped, host, faults):
    told = scraped.text()
    host.has({"uuid": "GPU-a", "memory": 24}, **faults)
    assert scraped.text() == ""
    host.has({"uuid": "GPU-a", "memory": 24, "used": 4, "use": 50, "celsius": 61})
    assert scraped.text() == told


def test_what_a_gpu_does_not_tell_is_absent_alone(scraped, host):
    host.has({"uuid": "GPU-a", "memory": 24})

    text = scraped.text()

    assert "llmzoo_gpu_memory_bytes" in text
    assert "utilization" not in text
    assert "temperature" not in text


def test_absent_without_a_lease(host):
    assert Scraped(host.nvml, ()).text() == ""


def test_read_once_a_second(scraped, host):
    told = scraped.text()
    host.has({"uuid": "GPU-a", "memory": 24, "used": 23})
    assert scraped.text(after=0.5) == told
    assert scraped.text(after=0.6) != told


def test_an_nvml_that_hangs_holds_up_one_scrape_for_a_moment(scraped, host):
    host.has(hangs=True)
    before = threading.active_count()
    began = time.monotonic()

    texts = [scraped.text() for _ in range(20)]

    assert set(texts) == {""}
    assert time.monotonic() - began < 2
    assert threading.active_count() == before + 1
