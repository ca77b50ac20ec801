import pytest
import torch

from services.worker.engine.memory import usable_bytes
from services.worker.engine.out_of_memory import is_out_of_memory

pytestmark = pytest.mark.torch


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
