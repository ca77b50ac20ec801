"""Everything is restarted again and again, over at least 2,000 requests; none fails."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.fakes.restarted_zoo import RestartedZoo, Streams
from tests.fakes.steady_load import SteadyLoad

REQUESTS = 2_000
LONGEST_SECONDS = 1.0
"""A machine that is busy with the start of a process is slow, but nobody is left waiting."""

pytestmark = [pytest.mark.redis, pytest.mark.timeout(600)]


async def test_two_thousand_requests_while_everything_is_restarted(tmp_path: Path) -> None:
    zoo = RestartedZoo(tmp_path)
    try:
        zoo.process.until_ready()
        async with httpx.AsyncClient(base_url=zoo.url, timeout=30, trust_env=False) as client:
            whole, streamed = SteadyLoad(client), Streams(client)
            async with whole.running(lines=4), streamed.running(lines=4):
                while len(whole.codes) + len(streamed.codes) < REQUESTS:
                    await zoo.restart("all")
    finally:
        zoo.process.close()
    assert {*whole.codes, *streamed.codes} == {200}
    slowest = max(*whole.seconds, *streamed.seconds)
    print(f"{len(whole.codes)} whole and {len(streamed.codes)} streamed, slowest {slowest:.2f} s")
    assert slowest < LONGEST_SECONDS
