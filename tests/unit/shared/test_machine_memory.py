"""What the kernel gives and the container allows, read from files of both versions."""

import pytest

from shared.machine_memory import free_memory, memory_left, memory_limit

V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
FILES = {
    V1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    V2: ("memory.max", "memory.current", "inactive_file"),
}
both_versions = pytest.mark.parametrize("version", [V1, V2])


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def write_group(folder, version, limit, used, files=0):
    names = FILES[version]
    write(folder / version / names[0], f"{limit}\n")
    write(folder / version / names[1], f"{used}\n")
    write(folder / version / "memory.stat", f"anon 7\n{names[2]} {files}\nfile 9\n")


@both_versions
def test_a_container_has_what_is_left_below_its_limit(tmp_path, version):
    write_group(tmp_path, version, 1000, 300)
    assert (memory_limit(tmp_path), memory_left(tmp_path)) == (1000, 700)


@both_versions
def test_files_that_were_read_do_not_count(tmp_path, version):
    write_group(tmp_path, version, 1000, 900, files=700)
    assert memory_left(tmp_path) == 800


@both_versions
def test_a_container_over_its_limit_has_nothing(tmp_path, version):
    write_group(tmp_path, version, 1000, 1300)
    assert memory_left(tmp_path) == 0


@both_versions
def test_what_is_free_is_the_less_of_both(tmp_path, version):
    assert free_memory(tmp_path) is None
    write(tmp_path / "proc/meminfo", "MemTotal: 9 kB\nMemAvailable: 2 kB\n")
    assert free_memory(tmp_path) == 2048
    write_group(tmp_path, version, 1000, 300)
    assert free_memory(tmp_path) == 700


@pytest.mark.parametrize(("version", "text"), [(V1, "9223372036854771712"), (V2, "max")])
def test_no_limit_is_none(tmp_path, version, text):
    write(tmp_path / version / FILES[version][0], f"{text}\n")
    assert memory_limit(tmp_path) is None
    assert memory_left(tmp_path) is None


@pytest.mark.parametrize(("version", "group"), [(V1, "4:memory:/a/b"), (V2, "0::/a/b")])
def test_the_limit_of_a_group_above_counts_too(tmp_path, version, group):
    write(tmp_path / "proc/self/cgroup", f"7:cpu,cpuacct:/x\n{group}\n")
    write(tmp_path / version / "a" / FILES[version][0], "5000\n")
    write(tmp_path / version / "a/b" / FILES[version][0], "9000\n")
    assert memory_limit(tmp_path) == 5000
