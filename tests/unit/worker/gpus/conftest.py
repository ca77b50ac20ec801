from __future__ import annotations

import pytest

from tests.fakes.gpu_host import GpuHost


@pytest.fixture
def host(tmp_path) -> GpuHost:
    """A machine with two GPUs."""
    return GpuHost(tmp_path, "GPU-a", "GPU-b")
