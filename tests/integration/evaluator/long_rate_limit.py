"""A server's limit a minute is used up and not run against: on a quiet machine, `make test-long`.

The same in virtual time, where nothing is late, is in the unit tests of the pace.
"""

from __future__ import annotations

import asyncio

import pytest

from services.evaluator.calling.calls import Calls
from services.evaluator.calling.http_client import CallClient
from services.evaluator.calling.retries import RetryPolicy
from services.evaluator.calling.tariff import Tariff
from shared.client import ZooClient
from tests.fakes.rate_limited_server import RateLimited
from tests.fakes.rate_limits import fixed_window, token_bucket

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
LIMITS = {
    "window": lambda: fixed_window(60, 1.5),
    "bucket": lambda: token_bucket(40, 40),
}
SAID = {"told": lambda wait: f"{wait:.3f}", "untold": lambda _: None}


async def rate_limited(limit, said):
    """Make calls for eight seconds' worth of a limit; return its server and how long it took."""
    limited = RateLimited(LIMITS[limit](), SAID[said])
    await limited.server.start()
    url = f"http://127.0.0.1:{limited.server.port}"
    client = CallClient(url, "")
    loop = asyncio.get_running_loop()
    try:
        async with ZooClient(url) as zoo:
            policy = RetryPolicy(first_pause=0.01, longest_pause=0.05)
            calls = Calls(client, Tariff(zoo), concurrency=32, policy=policy, timeout=20)
            began = loop.time()
            replies = await asyncio.gather(*(calls.ask({**BODY, "seed": n}) for n in range(360)))
            seconds = loop.time() - began
    finally:
        client.close()
        await limited.server.stop()
    assert [reply.text for reply in replies] == ["fine"] * 360
    return limited, seconds


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("said", SAID)
async def test_a_rate_limit_is_used_up_and_nothing_is_lost(limit, said):
    limited, seconds = await rate_limited(limit, said)
    ideal = 360 / 40
    assert seconds <= 1.25 * ideal
    warm = [good for at, good in limited.came if at > 3]
    assert warm.count(False) <= 0.05 * len(warm)
