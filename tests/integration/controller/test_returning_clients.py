"""Whoever comes back with `Last-Event-ID` gets the rest, whatever the network does meanwhile.

The controller that began is dead; what it left behind at a worker is played by a plain request
for frames whose connection is closed.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.controller.access.principal import ANONYMOUS
from shared.protocol.attach import KEY_HEADER
from shared.protocol.frames import FrameDecoder, TokensFrame
from tests.fakes.mixed_requests import KINDS, Asking, request
from tests.fakes.proxied_zoo import ROOMY, ProxiedZoo, proxied_zoo
from tests.fakes.returning_client import Told
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually
from tests.fakes.wire_faults import cut, half_close, inject, reset

pytestmark = [pytest.mark.redis]

FRAMES = {
    "x-llmzoo-frames": "1",
    "authorization": f"Bearer {TOKEN}",
    "x-request-id": "before",
    KEY_HEADER: ANONYMOUS.id,
}
SLOW = replace(ROOMY, step_seconds=0.005)
# Behind the head, the start frame and the ledger.
AT = st.integers(1_000, 6_000)
LOSSES = st.one_of(AT.map(cut), AT.map(reset), AT.map(half_close), AT.map(inject))


@pytest.fixture
def zoo(redis_server):
    """A function that starts a zoo."""
    with tempfile.TemporaryDirectory() as folder:
        yield lambda **options: proxied_zoo(
            redis_server.url, Path(folder), upstream_timeout=0.4, costs=SLOW, **options
        )


async def left_behind(running: ProxiedZoo, asking: Asking, frames: int) -> Told:
    """Return what a client had of an answer of the first worker, and leave the rest there."""
    told = Told(asking)
    decoder, seen = FrameDecoder(), 0
    async with (
        httpx.AsyncClient(base_url=running.workers[0].address, trust_env=False) as client,
        client.stream("POST", asking.path, json=asking.body, headers=FRAMES) as answer,
    ):
        async for piece in answer.aiter_raw():
            for frame in decoder.feed(piece):
                if isinstance(frame, TokensFrame) and seen < frames:
                    seen += 1
                    told.log.feed(frame.data, 0.0)
            if seen >= frames:
                break
    # A short one was whole already, and is kept as well.
    await eventually(lambda: running.count("orphaned") + running.count("completed") >= 1)
    told.log.lose()
    return told


@given(
    number=st.integers(0, KINDS - 1),
    frames=st.integers(1, 12),
    plan=st.lists(LOSSES, max_size=2),
)
@example(number=3, frames=7, plan=[inject(2_000)])
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_the_rest_comes_through_any_faults_behind_the_attachment(zoo, number, frames, plan):
    async with zoo() as running:
        told = await left_behind(running, request(number, tokens=24), frames)
        running.plan[:] = plan
        (told,) = await running.client(tries=4).ask_all([told])
        assert told.status == 200, told.body
        assert told.differences.none
        assert told.continued >= 1
        await running.idle()


@pytest.mark.parametrize("at", [0, 200])
@pytest.mark.parametrize("workers", [1, 3])
async def test_a_lost_attachment_leaves_the_answer_where_it_is(zoo, workers, at):
    async with zoo(workers=workers) as running:
        told = await left_behind(running, request(0, tokens=60), 5)
        running.plan[:] = [cut(at)]
        (told,) = await running.client(tries=6).ask_all([told])
        assert told.differences.none
        assert running.count("aborted") == 0
        await running.idle()
