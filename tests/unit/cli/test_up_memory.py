from __future__ import annotations

import os

import pytest

from services.cli.up.memory import has_room_beside

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def machine(tmp_path):
    """Return a function that makes a machine with a process of 100 pages."""
    for folder in ("proc/7", "sys/fs/cgroup"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/7/statm").write_text("500 100 20 1 0 60 0\n")

    def make(free: int, limit: str = "max", used: int = 0):
        (tmp_path / "proc/meminfo").write_text(f"MemAvailable: {free * PAGE // 1024} kB\n")
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n")
        (tmp_path / "sys/fs/cgroup/memory.current").write_text(f"{used * PAGE}\n")
        return tmp_path

    return make


@pytest.mark.parametrize(("free", "fits"), [(99, False), (109, False), (112, True)])
def test_as_much_again_and_a_little_more_must_be_free(machine, free, fits) -> None:
    assert has_room_beside(7, machine(free)) is fits


@pytest.mark.parametrize(("used", "fits"), [(100, True), (900, False), (2000, False)])
def test_a_container_has_what_its_limit_leaves(machine, used, fits) -> None:
    assert has_room_beside(7, machine(5000, str(1000 * PAGE), used)) is fits


def test_files_that_a_container_has_read_take_no_room(machine) -> None:
    root = machine(5000, str(1000 * PAGE), 1000)
    assert not has_room_beside(7, root)
    stat = f"anon {600 * PAGE}\ninactive_file {300 * PAGE}\nactive_file {100 * PAGE}\n"
    (root / "sys/fs/cgroup/memory.stat").write_text(stat)
    assert has_room_beside(7, root)


def test_where_nobody_tells_it_is_tried(tmp_path, machine) -> None:
    assert has_room_beside(7, tmp_path / "elsewhere")
    assert has_room_beside(8, machine(1))
