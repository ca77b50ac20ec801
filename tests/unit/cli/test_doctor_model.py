"""Whether the model is there, can come, and fits, with folders that a test makes up."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from services.cli.doctor.check import Status
from services.cli.doctor.model import model
from services.cli.doctor.model_memory import Room, fits, numbers_for, room_for
from services.cli.doctor.model_size import Numbers, Size, size_by_name, size_of
from services.cli.doctor.nvidia import Gpu, Nvidia
from services.cli.doctor.torch_build import TorchBuild
from services.worker.models.finished import MANIFEST
from services.worker.models.references import DEMO, parse_reference
from shared.errors import CheckpointDamaged
from shared.settings import WorkerSettings, load

pytestmark = pytest.mark.torch

GIB = 1 << 30
PLENTY = Room(1000 * GIB, 1000 * GIB, 0.5, "of memory")
NARROW = Numbers(2)
CONFIG = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "max_position_embeddings": 1024,
}
KV_BYTES = 2 * 2 * 2 * 16 * 2 * 1024


@pytest.fixture
def folder(tmp_path):
    """A folder of a model with 64 x 64 + 128 x 64 numbers."""
    place = tmp_path / "my-model"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG))
    weights = {"layer.weight": torch.zeros(64, 64), "embed.weight": torch.zeros(128, 64)}
    save_file(weights, place / "model.safetensors")
    return place


@pytest.mark.parametrize(
    ("numbers", "weights"),
    [
        (Numbers(4), (64 * 64 + 128 * 64) * 4),
        (Numbers(2), (64 * 64 + 128 * 64) * 2),
        (Numbers(2, 4), int(64 * 64 * 4 / 8 * 1.15) + 128 * 64 * 2),
    ],
)
def test_a_models_size_is_read_from_its_headers(folder, numbers, weights):
    size = size_of([folder / "model.safetensors"], numbers, 0)
    assert size.weights == weights
    assert size.context == 1024
    assert size.sequence == KV_BYTES // 2 * numbers.dtype_bytes


def test_the_context_that_is_asked_for_counts(folder):
    assert size_of([folder / "model.safetensors"], NARROW, 512).sequence == KV_BYTES // 2


@pytest.mark.parametrize("content", [b"", b"\xff" * 30, b"\x04\0\0\0\0\0\0\0nope"])
def test_a_damaged_header_is_told(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointDamaged):
        size_of([folder / "model.safetensors"], NARROW, 0)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.5e9),
        ("meta-llama/Llama-3.1-70B", 70e9),
        ("mistralai/Mixtral-8x7B-v0.1", 56e9),
        ("HuggingFaceTB/SmolLM2-135M", 135e6),
    ],
)
def test_a_name_tells_about_how_large_a_model_is(name, parameters):
    assert size_by_name(name, NARROW) == Size(int(parameters * 2))


@pytest.mark.parametrize("name", ["bigcode/starcoder", "org/v2beta", "org/model-4bit"])
def test_a_name_without_a_size_tells_nothing(name):
    assert size_by_name(name, NARROW) is None


ROOM = Room(8 * GIB, 16 * GIB, 0.5, "of memory")


def test_what_fits_is_well():
    found = fits("m", Size(4 * GIB, 2 * GIB, 8192), ROOM, told_by="files")
    assert found.status is Status.OK
    assert found.found == (
        "m takes about 4.0 GiB, and 2.0 GiB for a sequence of 8192 tokens; "
        "8.0 GiB of memory can be had"
    )


def test_what_fits_an_empty_machine_only_warns():
    found = fits("m", Size(9 * GIB), ROOM, told_by="name")
    assert found.status is Status.WARN
    assert "by its name" in found.found
    assert "too little now" in found.found
    assert "rest of 16.0 GiB" in found.fix


def test_what_does_not_fit_fails_with_what_would():
    found = fits("m", Size(4 * GIB, 32 * GIB, 8192), ROOM, told_by="files")
    assert found.status is Status.FAIL
    # Of the 4 GiB beside the weights the cache may take half: a sixteenth of the context.
    assert found.fix.startswith("set LLMZOO_MAX_MODEL_LEN=512, or compress it with --load-4bit")
    assert "LLMZOO_MAX_MODEL_LEN" not in fits("m", Size(20 * GIB), ROOM, told_by="files").fix


def test_a_gpu_is_the_room_where_torch_is_built_for_it(tmp_path):
    seen = Nvidia((Gpu("a", 80 * GIB, 70 * GIB), Gpu("b", 80 * GIB, 10 * GIB)))
    for_gpu, for_cpu = TorchBuild(tmp_path, "2", (12, 8)), TorchBuild(tmp_path, "2")
    auto = load(WorkerSettings, device="auto")
    assert room_for(auto, seen, for_gpu, tmp_path) == Room(
        80 * GIB, 160 * GIB, 0.8, "of GPU memory"
    )
    assert room_for(auto, seen, for_cpu, tmp_path).place == "of memory"
    assert (
        room_for(load(WorkerSettings, device="cpu"), seen, for_gpu, tmp_path).place == "of memory"
    )
    assert numbers_for(auto, room_for(auto, seen, for_gpu, tmp_path)) == Numbers(2)


def test_a_container_and_a_setting_bound_the_room(tmp_path):
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text(str(2 * GIB))
    assert room_for(load(WorkerSettings), None, None, tmp_path).total == 2 * GIB
    bound = load(WorkerSettings, memory_gib=1)
    assert room_for(bound, None, None, tmp_path).total == GIB


def test_a_worker_that_runs_holds_what_it_needs(tmp_path):
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemAvailable: 1024 kB\n")
    assert room_for(load(WorkerSettings), None, None, tmp_path).free == 1024 * 1024
    (tmp_path / "proc/7/cmdline").write_bytes(b"python\0-m\0services.worker\0")
    room = room_for(load(WorkerSettings), None, None, tmp_path)
    assert room.free == room.total


def found_of(reference, **settings):
    return list(model(load(WorkerSettings, model=str(reference), **settings), PLENTY, NARROW))


def test_a_folder_is_a_model_that_is_there(folder):
    there, memory = found_of(folder)
    assert (there.status, memory.status) == (Status.OK, Status.OK)
    assert str(folder) in there.found
    assert memory.name == "model's memory"


def test_a_folder_without_weights_fails(folder):
    (folder / "model.safetensors").unlink()
    (found,) = found_of(folder)
    assert found.status is Status.FAIL
    assert "has no weights" in found.found


def test_a_reference_to_nothing_fails():
    (found,) = found_of("./no-such-folder")
    assert found.status is Status.FAIL
    assert "does not exist" in found.found


def store(cache_dir, reference, folder):
    """Put a finished model into the cache, as the store does."""
    place = cache_dir / "models" / parse_reference(reference).folder_name
    place.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(place)
    files = {file.name: file.stat().st_size for file in place.iterdir()}
    told = {"name": "demo", "wheel": "x.whl", "files": files}
    (place / MANIFEST).write_text(json.dumps(told))
    return place


@pytest.mark.parametrize("reference", ["demo", "pypi:llm-other", "pypi:llm-other==1.2"])
def test_a_cached_wheel_is_found(tmp_path, folder, reference):
    cache = tmp_path / "cache"
    absent = found_of(reference, cache_dir=cache)[0]
    assert absent.status is Status.WARN
    assert f"llmzoo models add {reference}" in absent.fix
    place = store(cache, reference, folder)
    there = found_of(reference, cache_dir=cache)[0]
    assert there.status is Status.OK
    assert str(place) in there.found
    (place / "config.json").write_text("{}")  # cut short
    assert found_of(reference, cache_dir=cache)[0].status is Status.WARN


def test_the_demo_is_largest_while_it_is_converted(tmp_path):
    assert parse_reference("demo") == DEMO
    _, memory = found_of("demo", cache_dir=tmp_path)
    assert "1.0 GiB by its name" in memory.found


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's library with a cache of the test's, and an endpoint where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return constants


def test_a_hub_that_cannot_be_reached_fails(hub):
    found, memory = found_of("owner/Model-7B")
    assert found.status is Status.FAIL
    assert f"{hub.ENDPOINT} cannot be reached (Connection refused)" in found.found
    assert "HF_ENDPOINT" in found.fix
    assert "by its name" in memory.found


def test_a_hub_that_answers_is_a_warning_that_it_takes_time(hub):
    with socket.create_server(("127.0.0.1", 0)) as server:
        hub.ENDPOINT = f"http://127.0.0.1:{server.getsockname()[1]}"
        found = found_of("owner/name")[0]
    assert found.status is Status.WARN
    assert found.fix == "llmzoo models add owner/name"


@pytest.mark.usefixtures("hub")
def test_the_way_to_the_hub_leads_by_its_proxy(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert found_of("owner/name")[0].status is Status.WARN


def test_offline_without_the_model_fails(hub, monkeypatch):
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    found, *_ = found_of("owner/name")
    assert found.status is Status.FAIL
    assert "HF_HUB_OFFLINE" in found.found


def test_a_snapshot_in_the_hubs_cache_is_there(hub, folder):
    cache = Path(hub.HF_HUB_CACHE) / "models--owner--name"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text("abc")
    (cache / "snapshots").mkdir()
    folder.rename(cache / "snapshots/abc")
    there, _ = found_of("owner/name")
    assert there.status is Status.OK
    assert "snapshots/abc" in there.found
