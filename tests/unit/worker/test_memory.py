import pytest
import torch

from services.worker.engine.memory import container_bytes, usable_bytes
from services.worker.engine.out_of_memory import is_out_of_memory

pytestmark = pytest.mark.torch


def write(folder, limit, used, files=0):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {files}\nfile 9\n")


def test_a_container_has_what_is_left_below_its_limit(tmp_path):
    write(tmp_path, 1000, 300)

    assert container_bytes(tmp_path, default=10**9) == 700


def test_files_that_were_read_do_not_count(tmp_path):
    write(tmp_path, 1000, 900, files=700)

    assert container_bytes(tmp_path, default=10**9) == 800


def test_a_container_over_its_limit_has_nothing(tmp_path):
    write(tmp_path, 1000, 1300)

    assert container_bytes(tmp_path, default=10**9) == 0


def test_no_limit_means_the_default(tmp_path):
    assert container_bytes(tmp_path, default=5) == 5
    write(tmp_path, "max", 300)
    assert container_bytes(tmp_path, default=5) == 5


def test_torch_running_out_of_memory_is_told_from_its_other_faults():
    with pytest.raises(RuntimeError) as exhausted:
        torch.empty(10**15)
    with pytest.raises(RuntimeError) as shapes:
        torch.ones(2) @ torch.ones(3)

    assert is_out_of_memory(exhausted.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(shapes.value)


def test_a_part_of_this_machines_memory_is_usable():
    assert usable_bytes(torch.device("cpu")) > 0


def test_version_1_of_cgroups_is_read_too(tmp_path):
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("1000\n")
    (folder / "memory.usage_in_bytes").write_text("400\n")
    (folder / "memory.stat").write_text("cache 90\ninactive_file 50\ntotal_inactive_file 100\n")
    assert container_bytes(tmp_path, default=10**9) == 700
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # none
    assert container_bytes(tmp_path, default=5) == 5
