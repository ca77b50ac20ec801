"""What is made of NVML's answers and of its failures."""

from __future__ import annotations

import pytest

from services.worker.gpus.nvml import Gpu, Nvml, NvmlFault
from tests.fakes.fake_nvml import GIB, NOT_LOADED, NOT_SUPPORTED, UNKNOWN, VERSION_MISMATCH


def test_the_gpus_of_a_host(host):
    host.has({"uuid": "GPU-a", "memory": 24, "used": 4}, {"uuid": "GPU-b", "memory": 80})

    assert host.nvml.gpus() == [
        Gpu("0", "GPU-a", "Fake GPU", 24 * GIB, 4 * GIB, 20 * GIB),
        Gpu("1", "GPU-b", "Fake GPU", 80 * GIB, 0, 80 * GIB),
    ]


def test_a_divided_gpu_is_its_instances(host):
    instances = [{"uuid": f"MIG-{name}", "memory": 10} for name in "xy"]
    host.has(
        {"uuid": "GPU-a", "memory": 40, "instances": instances}, {"uuid": "GPU-b", "memory": 8}
    )

    found = [(gpu.index, gpu.uuid) for gpu in host.nvml.gpus()]

    assert found == [("0:0", "MIG-x"), ("0:1", "MIG-y"), ("1", "GPU-b")]


def test_readings_leave_out_what_a_gpu_does_not_tell(host):
    busy = {"uuid": "GPU-b", "memory": 8, "use": 50, "celsius": 61}
    host.has({"uuid": "GPU-a", "memory": 24}, busy, {"uuid": "GPU-c", "memory": 8})

    plain, told = host.nvml.readings(["GPU-b", "GPU-a"])

    assert (plain.gpu.uuid, plain.utilization, plain.celsius) == ("GPU-a", None, None)
    assert (told.gpu.uuid, told.utilization, told.celsius) == ("GPU-b", 0.5, 61)


@pytest.mark.parametrize(
    ("faults", "gone"),
    [
        ({"fault": UNKNOWN}, True),
        ({"fault": NOT_LOADED}, True),
        ({"fault_later": UNKNOWN}, True),
        ({"fault": VERSION_MISMATCH}, False),
        ({"fault": NOT_SUPPORTED}, False),
    ],
)
def test_which_faults_say_that_a_gpu_is_gone(host, faults, gone):
    nvml = host.nvml
    nvml.check(["GPU-a"])
    host.has({"uuid": "GPU-a", "memory": 24}, **faults)

    with pytest.raises(NvmlFault) as raised:
        nvml.check(["GPU-a"])

    assert raised.value.gone is gone
    # Each question closes what it opened, also one that failed.
    host.has({"uuid": "GPU-a", "memory": 24})
    nvml.check(["GPU-a"])


def test_a_gpu_that_is_not_listed_any_more_is_gone(host):
    with pytest.raises(NvmlFault, match="GPU-x") as raised:
        host.nvml.check(["GPU-a", "GPU-x"])

    assert raised.value.gone


def test_without_the_binding():
    def missing():
        raise ModuleNotFoundError("pynvml")

    with pytest.raises(NvmlFault, match="not installed") as raised:
        Nvml(missing).gpus()

    assert not raised.value.gone
