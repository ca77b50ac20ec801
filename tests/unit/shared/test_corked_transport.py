"""What reaches the socket, and in how many writes."""

from __future__ import annotations

import asyncio

import pytest

from shared.http.corked_transport import CorkedTransport

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Transport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.writes = []
        self.closed = ""

    def write(self, data):
        assert not self.closed
        self.writes.append(bytes(data))

    def close(self):
        self.closed = "close"

    def write_eof(self):
        self.closed = "eof"

    def abort(self):
        self.closed = "abort"

    def get_write_buffer_size(self):
        return 0


@pytest.fixture
async def corked():
    real = Transport()
    return CorkedTransport(real, asyncio.get_running_loop()), real


async def test_a_head_goes_out_with_what_follows_it(corked):
    transport, real = corked
    transport.write(HEAD)
    assert transport.get_write_buffer_size() == len(HEAD)
    transport.write(b"body")
    transport.write(b"more")
    await asyncio.sleep(0)
    assert real.writes == [HEAD + b"body", b"more"]


async def test_a_head_alone_goes_out_when_the_loop_comes_round(corked):
    transport, real = corked
    transport.write(HEAD)
    assert real.writes == []
    await asyncio.sleep(0)
    assert real.writes == [HEAD]


async def test_an_interim_answer_waits_for_nothing(corked):
    transport, real = corked
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert real.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]


@pytest.mark.parametrize("end", ["close", "write_eof"])
async def test_an_end_comes_after_what_was_held_back(corked, end):
    transport, real = corked
    transport.write(HEAD)
    getattr(transport, end)()
    assert real.writes == [HEAD]
    assert real.closed
    await asyncio.sleep(0)


async def test_an_abort_sends_nothing_more(corked):
    transport, real = corked
    transport.write(HEAD)
    transport.abort()
    await asyncio.sleep(0)
    assert (real.writes, real.closed) == ([], "abort")


async def test_several_pieces_are_one(corked):
    transport, real = corked
    transport.writelines([HEAD, b"bo", b"dy"])
    await asyncio.sleep(0)
    assert real.writes == [HEAD + b"body"]
