"""The load generator's connection against bytes as they come off a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.cli.bench.connection import Server
from shared.errors import MalformedAnswer, UpstreamFailed

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


@asynccontextmanager
async def answering(*parts: bytes) -> AsyncIterator[tuple[Server, asyncio.Event, list[bytes]]]:
    """A socket that sends one part, each further one when the event is set, and closes."""
    go_on, requests = asyncio.Event(), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(head + await reader.readexactly(2))
        for index, part in enumerate(parts):
            if index:
                await go_on.wait()
                go_on.clear()
            writer.write(part)
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        yield Server.at(f"http://127.0.0.1:{port}/base/v1", "key"), go_on, requests


async def test_pieces_are_handed_over_before_the_next_one_is_sent():
    chunk = b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n"
    async with answering(HEAD + chunk, b"3\r\ntwo\r\n0\r\n\r\n") as (server, go_on, requests):
        taken = []

        def take(data: bytes, now: float) -> None:
            taken.append((data, now))
            go_on.set()  # nothing further is sent until this piece is here

        reply = await server.post("/v1/completions", b"{}", take)
    assert [data for data, _ in taken] == [b"one", b"two"]
    assert taken[0][1] < taken[1][1] <= reply.ended
    assert reply.is_success
    assert requests[0].startswith(b"POST /base/v1/completions HTTP/1.1\r\n")
    assert b"\r\nauthorization: Bearer key\r\n" in requests[0].lower().replace(b"bearer", b"Bearer")


async def test_an_answer_without_a_length_ends_with_its_connection():
    async with answering(HEAD + b"\r\nall") as (server, _, _):
        taken = []
        await server.post("/", b"{}", lambda data, _: taken.append(data))
    assert b"".join(taken) == b"all"


async def test_the_body_of_an_error_is_kept():
    answer = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nfull"
    async with answering(answer) as (server, _, _):
        reply = await server.post("/", b"{}", lambda data, _: pytest.fail(f"took {data!r}"))
    assert (reply.status, reply.error, reply.is_success) == (429, b"full", False)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "broke off"),
        (HEAD, "broke off"),
        (HEAD + b"content-length: 9\r\n\r\nshort", "broke off"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n", "broke off"),
        (b"220 mail.example ESMTP\r\n\r\n", "no HTTP"),
    ],
)
async def test_what_is_no_whole_answer_fails(answer, says):
    async with answering(answer) as (server, _, _):
        with pytest.raises(UpstreamFailed, match=says):
            await server.post("/", b"{}", lambda *_: None)


async def test_what_take_raises_ends_the_request():
    def refuse(_: bytes, __: float) -> None:
        raise MalformedAnswer("no stream")

    async with answering(HEAD + b"\r\nnonsense") as (server, _, _):
        with pytest.raises(MalformedAnswer):
            await server.post("/", b"{}", refuse)
