"""Transcripts are the same however an answer came, and show what is wrong with one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.bench.gateway.wire import Target
from tests.fakes.event_log import EventLog
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.mixed_requests import KINDS, mix, request
from tests.fakes.mock.scheduler import Costs
from tests.fakes.mock.worker import MockSettings, MockWorker
from tests.fakes.returning_client import ReturningClient, Told
from tests.fakes.transcripts import Differences, differences, expected, of_events
from tests.fakes.wire_faults import cut

ROOMY = Costs(step_seconds=0.001, sequence_seconds=0.0, max_num_seqs=256, max_waiting=256)


@pytest.fixture
async def mock() -> AsyncIterator[MockWorker]:
    worker = await MockWorker(MockSettings(costs=ROOMY)).start()
    yield worker
    await worker.stop()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_undisturbed_answer_of_each_kind_is_as_expected(mock: MockWorker, stream: bool):
    client = ReturningClient([Target("127.0.0.1", mock.port)])
    asked = [Told(request(number, tokens=30, stream=stream)) for number in range(KINDS)]
    for told in await client.ask_all(asked):
        assert told.transcript == expected(told.asking, told.transcript.answer_id)
        assert told.differences.none
        assert told.losses == 0


async def test_a_framed_stream_has_rising_numbers_and_the_same_transcript(mock: MockWorker):
    """The events of frames are what a controller forwards."""
    target = Target("127.0.0.1", mock.port)
    plain = await ReturningClient([target]).ask(request(3, tokens=30))
    log = EventLog()
    for number, event in enumerate(plain.log.events[:-1], 1):
        log.feed(b"id: w.%b.%d\ndata: %b\n\n" % (_answer(plain), number, event.data), 0.0)
    log.feed(b"data: [DONE]\n\n", 0.0)
    assert of_events(log.events) == plain.transcript
    log.events[4], log.events[5] = log.events[5], log.events[4]
    assert of_events(log.events).broken_rules == ["number 5 after 6"]


def _answer(told) -> bytes:
    return told.transcript.answer_id.encode()


def _worded(*texts: str) -> EventLog:
    log = EventLog()
    for text in texts:
        log.feed(b'data: {"id":"a","choices":[{"index":0,"text":"%b"}]}\n\n' % text.encode(), 0.0)
    return log


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ((" a", " b", " c"), (0, 0, 0, True)),
        ((" a", " c"), (1, 0, 0, False)),
        ((" a", " b", " b", " c"), (0, 1, 0, False)),
        ((" a", " x", " c"), (0, 0, 1, False)),
    ],
)
def test_lost_repeated_and_differing_tokens_are_counted(told, found):
    wanted = of_events(_worded(" a", " b", " c").events)
    *counts, equal = found
    got = differences(of_events(_worded(*told).events), wanted)
    assert got == Differences(*counts, otherwise_equal=equal)


def test_what_came_after_the_last_id_is_forgotten_on_a_loss():
    log = EventLog()
    log.feed(b"data: 1\n\nid: w.a.1\ndata: 2\n\ndata: 3\n\nid: w.a.2\nda", 0.0)
    assert [event.data for event in log.events] == [b"1", b"2", b"3"]
    log.lose()
    log.feed(b"data: 4\n\n", 1.0)
    assert [event.data for event in log.events] == [b"1", b"2", b"4"]
    assert log.last_id == "w.a.1"
    assert log.longest_gap() == 1.0


async def test_a_client_makes_a_request_anew_before_its_first_id(mock: MockWorker):
    """A mock worker gives no ids without frames, so each loss is a beginning."""
    proxy = await FaultProxy(mock.port, [cut(400), cut(0)]).up()
    once = ReturningClient([Target("127.0.0.1", proxy.port)])
    lost = await once.ask(request(0, tokens=30))
    assert (lost.losses, lost.log.ended) == (1, False)
    again = ReturningClient([Target("127.0.0.1", proxy.port)], tries=3)
    told = await again.ask(request(0, tokens=30))
    assert (told.losses, told.differences.none) == (1, True)
    await proxy.down()


async def test_sixty_four_streams_at_once_are_cheap(mock: MockWorker):
    client = ReturningClient([Target("127.0.0.1", mock.port)])
    async with asyncio.timeout(20):
        answers = await client.ask_all([Told(asking) for asking in mix(64, tokens=40)])
    assert all(told.differences.none for told in answers)
    assert sum(told.asking.stream for told in answers) == 48
