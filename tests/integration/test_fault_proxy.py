"""Each fault of the proxy is what its name says, on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httptools
import pytest

from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    FrameDecoder,
    KeepaliveFrame,
    StartFrame,
    encode,
)
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.waiting import eventually
from tests.fakes.wire_faults import (
    GARBAGE,
    FaultKind,
    Scope,
    WireFault,
    corrupt,
    cut,
    dribble,
    error_frame,
    half_close,
    inject,
    passes,
    reset,
    slow_accept,
    stall,
)

START = encode(StartFrame("chatcmpl-1", 0, "toy", 0, 1, "f"))
BEAT = encode(KeepaliveFrame())
END = encode(EndFrame(["stop"], 1, 0, b"data: [DONE]\n\n"))
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CALL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
WHOLE = HEAD + b"".join(b"%x\r\n%b\r\n" % (len(f), f) for f in (START, BEAT, END)) + b"0\r\n\r\n"
STREAM, SHORT = b"POST /stream\r\n\r\n", b"POST /call\r\n\r\n"


class Origin:
    """Answers `/stream` and `/call` with fixed bytes, as long as the connection is open."""

    def __init__(self) -> None:
        self.open = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> Origin:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await eventually(lambda: self.open == 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                writer.write(WHOLE if asked == STREAM else CALL)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


class Client:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes = STREAM) -> None:
        self.writer.write(request)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """Return what comes until the end."""
        return await asyncio.wait_for(self.reader.read(), 5)

    async def exactly(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), 5)


Connect = Callable[..., Awaitable[tuple[FaultProxy, Client]]]


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    origin = await Origin().start()
    yield origin
    await origin.stop()


@pytest.fixture
async def connect(origin: Origin) -> AsyncIterator[Connect]:
    """A function that returns a proxy with a plan, and a connection to it."""
    proxies: list[FaultProxy] = []
    clients: list[Client] = []
    before = len(asyncio.all_tasks())

    async def connected(*plan: WireFault) -> tuple[FaultProxy, Client]:
        proxies.append(await FaultProxy(origin.port, plan).up())
        opened = await asyncio.open_connection("127.0.0.1", proxies[-1].port)
        clients.append(Client(*opened))
        return proxies[-1], clients[-1]

    yield connected
    for client in clients:
        client.writer.close()
    for proxy in proxies:
        await proxy.down()
        assert proxy.open_connections == 0
    await eventually(lambda: origin.open == 0)
    await eventually(lambda: len(asyncio.all_tasks()) <= before)


def body_of(answer: bytes) -> list[bytes]:
    """Return the pieces of an answer's body; raises what httptools does."""

    class Pieces:
        def __init__(self) -> None:
            self.got: list[bytes] = []

        def on_body(self, piece: bytes) -> None:
            self.got.append(piece)

    pieces = Pieces()
    httptools.HttpResponseParser(pieces).feed_data(answer)
    return pieces.got


async def test_without_a_plan_everything_passes(connect: Connect):
    proxy, client = await connect()
    for request, answer in ((STREAM, WHOLE), (SHORT, CALL), (STREAM, WHOLE)):
        await client.ask(request)
        assert await client.exactly(len(answer)) == answer
    assert proxy.counts == {"connections": 1, "stream": 2, "call": 1}


@pytest.mark.parametrize("at", [0, 1, len(HEAD), len(HEAD) + 1, len(WHOLE) - 1, len(WHOLE)])
@pytest.mark.parametrize("fault", [cut, half_close])
async def test_so_many_bytes_come_and_then_an_end(connect: Connect, origin: Origin, fault, at):
    proxy, client = await connect(fault(at))
    await client.ask()
    assert await client.rest() == WHOLE[:at]
    assert proxy.counts[fault(at).kind] == 1
    if fault is half_close:
        assert origin.open == 1
    else:
        await eventually(lambda: origin.open == 0)


async def test_a_reset_is_no_orderly_end(connect: Connect, origin: Origin):
    _, client = await connect(reset(len(HEAD)))
    await client.ask()
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await eventually(lambda: origin.open == 0)


async def test_after_a_stall_nothing_comes_and_all_is_open(connect: Connect, origin: Origin):
    _, client = await connect(stall(7))
    await client.ask()
    assert await client.exactly(7) == WHOLE[:7]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(1), 0.1)
    assert origin.open == 1
    client.writer.close()
    await eventually(lambda: origin.open == 0)


async def test_a_dribble_is_whole_and_comes_byte_by_byte(connect: Connect):
    proxy, client = await connect(dribble(3))
    await client.ask()
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < len(WHOLE):
        pieces.append(await client.reader.read(65536))
    assert b"".join(pieces) == WHOLE
    assert len(pieces) > 10
    assert proxy.counts["dribble"] == 1


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("at", [0, len(HEAD) + 1])
async def test_what_is_injected_is_valid_http_and_no_frame(connect: Connect, garbage, at):
    _, client = await connect(inject(at, garbage))
    await client.ask()
    answer = await client.exactly(len(WHOLE) + len(b"%x\r\n\r\n" % len(garbage)) + len(garbage))
    good = [START] if at else []
    assert body_of(answer) == [*good, garbage, *[START, BEAT, END][len(good) :]]
    decoder = FrameDecoder()
    assert len(decoder.feed(b"".join(body_of(answer)))) == len(good)
    assert decoder.fault is not None


async def test_an_error_frame_ends_a_200_in_order(connect: Connect):
    _, client = await connect(error_frame(len(HEAD) + 1))
    await client.ask()
    first, last = FrameDecoder().feed(b"".join(body_of(await client.rest())))
    assert isinstance(first, StartFrame)
    assert isinstance(last, ErrorFrame)
    assert (last.status, last.error["code"]) == (500, "engine_fault")


async def test_a_corrupted_answer_is_no_http(connect: Connect):
    _, client = await connect(corrupt(len(HEAD)))
    await client.ask()
    with pytest.raises(httptools.HttpParserError):
        body_of(await client.exactly(len(WHOLE)))


async def test_a_slow_accept_is_slow_and_then_well(connect: Connect):
    loop = asyncio.get_running_loop()
    began = loop.time()
    proxy, client = await connect(slow_accept(0.2))
    await client.ask()
    assert await client.exactly(len(WHOLE)) == WHOLE
    assert loop.time() - began > 0.19
    assert proxy.counts[FaultKind.SLOW_ACCEPT] == 1


async def test_streams_take_the_plan_in_order_and_calls_pass(connect: Connect):
    proxy, client = await connect(passes(), cut(5), WireFault(FaultKind.CUT, 2, scope=Scope.CALL))
    await client.ask()
    assert await client.exactly(len(WHOLE)) == WHOLE
    await client.ask()
    assert await client.rest() == WHOLE[:5]
    again = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    await again.ask(SHORT)
    assert await again.rest() == CALL[:2]
    again.writer.close()
    assert not proxy.plan


async def test_a_plan_is_changed_while_it_runs(connect: Connect):
    proxy, client = await connect()
    await client.ask()
    await client.exactly(len(WHOLE))
    proxy.plan.append(cut(1))
    await client.ask()
    assert await client.rest() == WHOLE[:1]


async def test_a_port_goes_down_with_its_connections_and_comes_back(connect: Connect):
    proxy, client = await connect(stall(7))
    await client.ask()
    await client.exactly(7)
    await proxy.down()
    with pytest.raises(ConnectionResetError):
        await client.rest()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    await proxy.up()
    again = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    await again.ask()
    assert await again.exactly(len(WHOLE)) == WHOLE
    again.writer.close()


async def test_a_worker_that_is_not_there_resets_who_asks():
    proxy = await FaultProxy(1).up()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    await proxy.down()
