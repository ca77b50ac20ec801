"""What a client may take of a server: bytes of headers, seconds, connections."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time

import orjson
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.http.limited_protocol import ServerLimits
from shared.http.server import Service
from tests.fakes.running_service import RunningService
from tests.fakes.waiting import eventually

HEAD_BYTES = 1000
LIMITS = ServerLimits(
    connections=4, head_bytes=HEAD_BYTES, head_seconds=0.4, body_seconds=0.4, stall_seconds=0.4
)
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"


async def echo(request):
    body = await request.body()
    names = [name for name in request.headers if name.startswith("x-")]
    return JSONResponse({"bytes": len(body), "names": names})


class Endless:
    """An answer without an end; `sent` grows while its client takes it."""

    def __init__(self):
        self.sent = 0
        self.over = asyncio.Event()

    async def __call__(self, _scope, receive, send):
        left = asyncio.create_task(self._leaves(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not left.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            self.sent += 65536
        self.over.set()

    async def _leaves(self, receive):
        while (await receive())["type"] != "http.disconnect":
            pass


@pytest.fixture
async def endless():
    return Endless()


@pytest.fixture
async def server(endless):
    app = Starlette(
        routes=[
            Route("/", echo, methods=["GET", "POST"]),
            Route("/health/live", echo),
            Route("/endless", endless),
        ]
    )
    running = RunningService(lambda _: Service(app, lambda: None), 21_000, LIMITS)
    await running.listening()
    # It keeps a connection open, which counts.
    await running.client.aclose()
    yield running
    await running.stop()


@contextlib.asynccontextmanager
async def connected(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer(reader):
    """Return status and JSON of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    return int(head.split(b" ")[1]), orjson.loads(await reader.readexactly(length))


async def refusal(reader):
    """Return status and code of an answer after which the connection ends."""
    status, body = await answer(reader)
    assert await reader.read() == b""
    return status, body["error"]["code"]


async def test_a_request_within_the_limits_is_served_again_and_again(server):
    async with connected(server) as (reader, writer):
        for _ in range(3):
            writer.write(GET)
            assert await answer(reader) == (200, {"bytes": 0, "names": []})
        # Longer between two requests than one may take.
        await asyncio.sleep(LIMITS.head_seconds * 1.5)
        writer.write(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
        assert await answer(reader) == (200, {"bytes": 3, "names": []})


HEADS = {
    "many headers": b"".join(b"x-%d: y\r\n" % n for n in range(200)),
    "a long header": b"x: " + b"y" * HEAD_BYTES + b"\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_head_that_is_too_large_is_refused(server, head, pieces):
    whole = b"GET / HTTP/1.1\r\n" + head + b"\r\n"
    size = len(whole) // pieces + 1
    async with connected(server) as (reader, writer):
        for start in range(0, len(whole), size):
            writer.write(whole[start : start + size])
            await asyncio.sleep(0.01)
        assert await refusal(reader) == (431, "headers_too_large")


async def test_a_path_that_is_too_long_is_refused(server):
    async with connected(server) as (reader, writer):
        writer.write(b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n")
        assert await refusal(reader) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "endless",
    [b"GET / HTTP/1.1\r\nx: ", CHUNKED + b"3;", CHUNKED + b"0\r\nx: "],
    ids=["header", "chunk extension", "trailer"],
)
async def test_what_never_ends_is_refused_before_it_fills_memory(server, endless):
    async with connected(server) as (reader, writer):
        writer.write(endless)
        for _ in range(20):
            writer.write(b"y" * (HEAD_BYTES // 4))
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            await asyncio.sleep(0.001)
        assert await refusal(reader) == (431, "headers_too_large")


async def test_headers_that_follow_a_body_are_not_taken(server):
    async with connected(server) as (reader, writer):
        writer.write(CHUNKED + b"3\r\nabc\r\n0\r\nx-admin: yes\r\n\r\n")
        assert await answer(reader) == (200, {"bytes": 3, "names": []})


async def test_what_is_no_http_is_refused_in_our_form(server):
    async with connected(server) as (reader, writer):
        writer.write(b"nonsense\r\n\r\n")
        assert await refusal(reader) == (400, "invalid_http")


SLOW = {
    "a head that drips": [b"G", b"E", b"T"],
    "a head that stops": [GET[:-2]],
    "a body that stops": [CHUNKED],
    "a body that drips": [CHUNKED, *[b"1\r\na\r\n"] * 2],
    "the head of a second request": [GET, GET[:5]],
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW.keys())
async def test_whoever_is_too_slow_is_sent_away(server, pieces):
    started = time.monotonic()
    async with connected(server) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            if piece == GET:
                assert (await answer(reader))[0] == 200
                started = time.monotonic()
            await asyncio.sleep(0.05)
        assert await refusal(reader) == (408, "request_timeout")
    assert LIMITS.head_seconds * 0.9 < time.monotonic() - started < LIMITS.head_seconds * 3


async def test_a_client_that_takes_nothing_of_its_answer_ends_it(server, endless):
    async with connected(server) as (reader, writer):
        writer.write(GET.replace(b"/", b"/endless", 1))
        reader._limit = 1
        async with asyncio.timeout(10):
            await endless.over.wait()


async def test_a_slow_client_is_waited_for(server, endless):
    async with connected(server) as (reader, writer):
        writer.write(GET.replace(b"/", b"/endless", 1))
        deadline = time.monotonic() + 3 * LIMITS.stall_seconds
        while time.monotonic() < deadline:
            assert await reader.read(1_000_000)
            await asyncio.sleep(LIMITS.stall_seconds / 20)
        assert not endless.over.is_set()


async def test_a_connection_on_which_nothing_comes_ends(server):
    async with connected(server) as (reader, _):
        async with asyncio.timeout(LIMITS.head_seconds * 3):
            await reader.read()


async def test_connections_beyond_the_limit_are_refused_and_room_comes_back(server):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(LIMITS.connections):
            reader, writer = await stack.enter_async_context(connected(server))
            writer.write(GET)
            assert (await answer(reader))[0] == 200
        async with connected(server) as (reader, _):
            assert await refusal(reader) == (503, "unavailable")
        writer.write(GET)

    async def served():
        async with connected(server) as (reader, writer):
            writer.write(GET)
            return (await answer(reader))[0] == 200

    await eventually(served)


def test_a_process_takes_as_many_connections_as_it_has_descriptors_for():
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 1128))\n"
        "from shared.http.server import _most_connections\n"
        "print(_most_connections(), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"500", b"1128", b"1128"]
