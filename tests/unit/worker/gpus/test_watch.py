"""When a worker's GPUs count as lost."""

from __future__ import annotations

import asyncio
import threading

import pytest
from structlog.testing import capture_logs

from services.worker.engine.device_probe import DeviceProbe, probe_of
from services.worker.gpus.watch import GpuWatch
from shared.errors import GpuLost
from tests.fakes.fake_nvml import UNKNOWN, VERSION_MISMATCH
from tests.fakes.waiting import eventually

LOOK = 0.02


class Leased:
    """A lease of these GPUs."""

    def __init__(self, *gpus):
        self.gpus = gpus


class Device:
    """CUDA, as the model's probe finds it."""

    def __init__(self):
        self.fault = ""
        self.faults = []  # of the looks that come first
        self.free = threading.Event()
        self.free.set()
        self.looks = 0

    def probe(self):
        self.looks += 1
        self.free.wait()
        fault = self.faults.pop(0) if self.faults else self.fault
        if fault:
            raise GpuLost(fault)


class Watched:
    """A watch that is running; its verdict is a future."""

    def __init__(self, host, *gpus, device=None):
        self._loop = asyncio.get_running_loop()
        self._looked = asyncio.Event()
        self._probe = None if device is None else device.probe
        self.lost = self._loop.create_future()
        self.watch = GpuWatch(
            Leased(*gpus), host.nvml, self._begin, every=LOOK, answer_within=5 * LOOK
        )

    def _begin(self):
        self._loop.call_soon_threadsafe(self._looked.set)
        return self._probe

    async def looks(self, times):
        """Wait until it has begun to look so many times more."""
        for _ in range(times):
            self._looked.clear()
            await asyncio.wait_for(self._looked.wait(), 10)

    async def __aenter__(self):
        self._context = self.watch.running(self.lost.set_result)
        await self._context.__aenter__()
        return self

    async def __aexit__(self, *raised):
        await self._context.__aexit__(*raised)

    async def verdict(self):
        fault = await asyncio.wait_for(self.lost, 10)
        assert isinstance(fault, GpuLost)
        return fault.message


async def test_a_device_that_fails_three_times_is_lost(host):
    device = Device()
    device.fault = "cuda:0: CUDA error: unknown error"
    async with Watched(host, "GPU-a", device=device) as watched:
        assert "CUDA error: unknown error" in await watched.verdict()
        assert device.looks == 3


async def test_one_that_recovers_is_not(host):
    device = Device()
    device.faults = ["once", "again", ""] * 3
    async with Watched(host, "GPU-a", device=device) as watched:
        await watched.looks(11)
        assert device.faults == []
        assert not watched.lost.done()


async def test_a_container_that_has_lost_its_gpus(host):
    device = Device()
    async with Watched(host, "GPU-a", device=device) as watched:
        await watched.looks(2)
        host.has(fault=UNKNOWN)
        assert "Unknown Error" in await watched.verdict()


async def test_a_gpu_that_is_gone_from_the_list_before_a_model_is_there(host):
    async with Watched(host, "GPU-a", "GPU-b") as watched:
        await watched.looks(4)
        assert not watched.lost.done()
        host.has({"uuid": "GPU-a", "memory": 24})
        assert "does not list GPU-b" in await watched.verdict()


@pytest.mark.parametrize("fault", [VERSION_MISMATCH, UNKNOWN])
async def test_what_nvml_has_never_answered_is_not_missed(host, fault):
    device = Device()
    host.has(fault=fault)
    async with Watched(host, "GPU-a", device=device) as watched:
        await watched.looks(6)
        assert not watched.lost.done()


async def test_an_update_of_the_driver_ends_no_worker(host):
    device = Device()
    async with Watched(host, "GPU-a", device=device) as watched:
        await watched.looks(2)
        host.has(fault=VERSION_MISMATCH)
        await watched.looks(6)
        assert not watched.lost.done()


async def test_a_device_that_hangs_is_lost_and_asked_once(host):
    device = Device()
    device.free.clear()
    async with Watched(host, "GPU-a", device=device) as watched:
        assert "no answer within" in await watched.verdict()
        assert device.looks == 1
    device.free.set()


async def test_nothing_is_looked_at_on_a_cpu(host):
    host.has(fault=UNKNOWN)
    async with Watched(host) as watched:
        await watched.looks(6)
        assert not watched.lost.done()


async def test_a_crash_of_the_watch_is_told(host):
    def broken():
        raise TypeError("not foreseen")

    with capture_logs() as logs:
        watch = GpuWatch(Leased("GPU-a"), host.nvml, broken, every=LOOK)
        async with watch.running(lambda _: None):
            await eventually(lambda: bool(logs))
    assert logs[0]["event"] == "gpu_watch_crashed"


@pytest.mark.torch
def test_a_real_fault_of_torch_and_a_device_that_computes():
    import torch  # noqa: PLC0415

    DeviceProbe([torch.device("cpu")])()
    # Numbers of this device cannot be had, as those of a lost one.
    with pytest.raises(GpuLost, match="meta: "):
        DeviceProbe([torch.device("cpu"), torch.device("meta")])()
    assert probe_of(torch.nn.Linear(2, 2)) is None
