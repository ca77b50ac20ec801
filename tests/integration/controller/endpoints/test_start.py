"""A controller that cannot serve its endpoints file does not start."""

from __future__ import annotations

import asyncio
import sys

from shared.settings import child_environment
from tests.fakes.endpoints_file import write_endpoints


async def test_a_wrong_file_ends_the_process_with_2_and_names_the_place(tmp_path):
    path = write_endpoints(tmp_path, {"name": "ext", "base_url": "http://169.254.169.254"})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.controller"),
        env=child_environment({"LLMZOO_ENDPOINTS_FILE": str(path)}),
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()

    assert process.returncode == 2
    assert f"{path}: endpoint 'ext': models".encode() in told
