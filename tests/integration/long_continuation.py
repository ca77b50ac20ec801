"""The properties of `test_continuation` over many more sequences of faults: `make test-long`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.fakes.mixed_requests import KINDS, request
from tests.fakes.proxied_zoo import proxied_zoo
from tests.integration.controller.test_continuation import (
    CONTINUED,
    HARMLESS,
    SILENCE,
    START_BYTES,
    assert_whole,
)

pytestmark = [pytest.mark.redis, pytest.mark.timeout(1200)]


@given(
    number=st.integers(0, KINDS - 1),
    stream=st.booleans(),
    tokens=st.integers(1, 60),
    plan=st.lists(st.one_of(CONTINUED, HARMLESS), max_size=5),
)
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_a_client_sees_nothing_of_any_sequence(redis_server, number, stream, tokens, plan):
    early = [fault for fault in plan if fault.at < START_BYTES and not fault.seconds]
    assume(len(early) <= 2)
    with tempfile.TemporaryDirectory() as folder:
        starting = proxied_zoo(
            redis_server.url, Path(folder), plan=plan, upstream_timeout=SILENCE, move_timeout=20
        )
        async with starting as zoo:
            asking = request(number, tokens=tokens, stream=stream)
            assert_whole(await zoo.client().ask(asking))
