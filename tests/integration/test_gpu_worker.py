"""Workers as processes on a machine with GPUs: each has its own, and ends when it has lost it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from services.worker.gpus.driver import has_driver
from shared.registry import keys
from tests.fakes.fake_nvml import UNKNOWN
from tests.fakes.gpu_host import GpuHost
from tests.fakes.scrape import sample
from tests.fakes.scripted_model import MODEL
from tests.fakes.waiting import eventually
from tests.fakes.worker_process import WorkerProcess

pytestmark = pytest.mark.redis

Start = Callable[..., Awaitable[WorkerProcess]]
TTL = 0.5  # of records; a lease lasts twice as long


@pytest.fixture
def host(tmp_path: Path) -> GpuHost:
    return GpuHost(tmp_path, "GPU-a", "GPU-b")


@pytest.fixture
def cuda(tmp_path: Path) -> Path:
    """CUDA, there as long as this file is."""
    file = tmp_path / "cuda"
    file.touch()
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What passes for a model's folder until the model is loaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
async def start(redis_server, host, cuda, folder) -> AsyncIterator[Start]:
    """A function that starts a worker on the machine; its arguments are settings."""
    started: list[WorkerProcess] = []

    async def make(
        module: str = "tests.fakes.gpu_worker",
        variables: dict[str, str] | None = None,
        **settings: Any,
    ) -> WorkerProcess:
        environment = host.environment | {"FAKE_CUDA": str(cuda)} | (variables or {})
        chosen = {
            "model": folder,
            "device": "auto",
            "redis_url": redis_server.url,
            "heartbeat_ttl": TTL,
            **settings,
        }
        started.append(await WorkerProcess.start(module, environment, **chosen))
        return started[-1]

    yield make
    for worker in started:
        await worker.close()


async def gpu_of(worker: WorkerProcess) -> str:
    """Return the GPU whose metrics it shows."""
    text = (await worker.client.get("/metrics")).text
    shown = [gpu for gpu in ("GPU-a", "GPU-b") if sample(text, "llmzoo_worker_gpu_info", uuid=gpu)]
    assert len(shown) == 1
    return shown[0]


async def detail(worker: WorkerProcess) -> str:
    try:
        return (await worker.client.get("/health/ready")).json().get("detail", "")
    except httpx.TransportError:
        return ""


async def test_each_has_its_own_and_a_standby_gets_what_comes_free(start):
    one, two = [await start(model_name=MODEL) for _ in range(2)]
    for worker in (one, two):
        await worker.reaches("ready")
    assert {await gpu_of(one), await gpu_of(two)} == {"GPU-a", "GPU-b"}
    third, fourth = [await start(model_name=MODEL) for _ in range(2)]

    async def told(worker: WorkerProcess) -> bool:
        said = await detail(worker)
        return all(f"-{other.port}" in said for other in (one, two))

    for worker in (third, fourth):
        await eventually(lambda worker=worker: told(worker), seconds=60)
        assert await worker.state() == "starting"
        assert (await worker.client.get("/health/ready")).json()["waits"] is True
        assert (await detail(worker)).startswith("waits for a GPU to come free; leased to worker-")
    # A standby ends at once when it is told to.
    fourth.process.send_signal(signal.SIGTERM)
    code, stderr = await asyncio.wait_for(fourth.ended(), timeout=20)
    assert code == 0, stderr
    # One that is killed keeps its GPU for the rest of the lease, and no longer.
    freed = await gpu_of(one)
    one.process.kill()
    await third.reaches("ready")
    assert await gpu_of(third) == freed
    # One that stops gives it back.
    two.process.send_signal(signal.SIGTERM)
    code, stderr = await two.ended()
    assert code == 0, stderr
    assert "shown GPU-" in stderr
    third.process.send_signal(signal.SIGTERM)
    assert (await third.ended())[0] == 0


@pytest.mark.parametrize("loses", ["NVML", "CUDA"])
async def test_a_worker_that_has_lost_its_gpu_exits_with_1(start, host, cuda, redis_server, loses):
    worker = await start(model_name=MODEL)
    await worker.reaches("ready")
    if loses == "NVML":
        host.has(fault=UNKNOWN)
    else:
        cuda.unlink()
    code, stderr = await worker.ended()
    assert code == 1
    reason = "Unknown Error" if loses == "NVML" else "no CUDA-capable device is detected"
    last = stderr.splitlines()[-1]
    assert last.startswith("worker: The worker has lost its GPU and ends")
    assert reason in last
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.keys("llmzoo:gpu-lease:*") == []


async def test_the_later_of_two_holders_exits_with_1(start, redis_server):
    worker = await start(model_name=MODEL)
    await worker.reaches("ready")
    gpu = await gpu_of(worker)
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(keys.gpu_lease(gpu, 0), "1 abc worker-elsewhere-8010")
    code, stderr = await worker.ended()
    assert code == 1
    assert stderr.splitlines()[-1] == (
        f"worker: {gpu} is leased to worker-elsewhere-8010, which had it before this worker, "
        "which ends."
    )


async def test_a_gpu_that_was_chosen_is_not_leased(start, redis_server):
    worker = await start(variables={"CUDA_VISIBLE_DEVICES": "1"}, model_name=MODEL)
    await worker.reaches("ready")
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.keys("llmzoo:gpu-lease:*") == []
    assert "llmzoo_gpu" not in (await worker.client.get("/metrics")).text
    worker.process.send_signal(signal.SIGTERM)
    code, stderr = await worker.ended()
    assert code == 0
    assert "shown 1\n" in stderr


async def test_more_gpus_than_there_are_exits_with_2(start):
    worker = await start(gpus=3)
    code, stderr = await worker.ended()
    assert code == 2
    assert stderr.splitlines()[-1] == "worker: LLMZOO_GPUS is 3, but there are only 2 GPUs here"


@pytest.mark.skipif(has_driver(), reason="this machine has CUDA")
async def test_cuda_that_is_not_there_is_refused_before_torch_is_imported(start, host):
    worker = await start("services.worker", device="cuda")
    code, stderr = await worker.ended()
    assert code == 2
    assert stderr.splitlines()[-1].startswith(
        "worker: LLMZOO_DEVICE is 'cuda', but there is no NVIDIA driver here: install"
    )
    assert host.shown_at_import(worker.process.pid) is None


@pytest.mark.torch
@pytest.mark.skipif(has_driver(), reason="this machine has CUDA")
async def test_torch_is_imported_after_the_lease_and_a_gpu_without_use_is_given_back(
    start, host, redis_server, tmp_path
):
    from tests.fakes.model_files import save_folder, tiny_llama  # noqa: PLC0415

    model = save_folder(tiny_llama(), tmp_path / "tiny")
    worker = await start("services.worker", model=model)
    await worker.reaches("ready")
    # It took one of the two, and showed it to CUDA alone.
    assert host.shown_at_import(worker.process.pid) in {"GPU-a", "GPU-b"}

    # torch found none all the same: this is a CPU's worker, and others may have the GPU.
    def given_back() -> bool:
        with redis.Redis.from_url(redis_server.url) as client:
            return client.keys("llmzoo:gpu-lease:*") == []

    await eventually(given_back)
    worker.process.send_signal(signal.SIGTERM)
    code, stderr = await worker.ended()
    assert code == 0
    assert "gpus_not_used" in stderr
