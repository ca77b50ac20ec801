"""Why there is no CUDA, and what to do, in words."""

from __future__ import annotations

import re

import pytest

from services.worker.gpus.driver import explain
from tests.fakes.fake_nvml import UNKNOWN


@pytest.mark.parametrize(
    ("found", "driver", "reason"),
    [
        (("cpu", None, None), True, "built for CPUs: install PyTorch's CUDA build"),
        (("cuda", None, None), False, "no NVIDIA driver here: install .* container toolkit"),
        (("cuda", "", None), False, "no NVIDIA driver here"),
        (("cuda", "", None), True, "CUDA_VISIBLE_DEVICES is ''"),
        (("cuda", "7", None), True, "CUDA_VISIBLE_DEVICES is '7'"),
        (("cuda", "GPU-a", "13.0"), True, "runs CUDA up to 12.4, .* needs 13.0: update"),
        (("cuda", None, "12.8"), True, "550.54.14 .* gives no device"),
    ],
)
def test_each_cause_is_told_with_its_cure(host, found, driver, reason):
    build, shown, torch_cuda = found
    said = explain(build, shown, host.nvml, torch_cuda, driver=driver)

    assert re.search(reason, said), said


def test_a_driver_that_does_not_answer(host):
    host.has(fault=UNKNOWN)

    said = explain("cuda", None, host.nvml, "13.0", driver=True)

    assert "does not answer (NVML: Unknown Error)" in said
