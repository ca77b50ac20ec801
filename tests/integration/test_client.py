"""The client against servers that answer with something else than an answer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from shared.client import APIError, ZooClient
from shared.errors import Unavailable, UpstreamFailed, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@asynccontextmanager
async def server(answer: bytes, *, silent: bool = False) -> AsyncIterator[str]:
    """A socket that answers every request with these bytes and closes."""
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if silent:
            await release.wait()
        writer.write(answer)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        release.set()


def reply(body: bytes, kind: str = "application/json", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"retry-after: 7\r\nx-request-id: r1\r\nconnection: close\r\n\r\n" + body


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{}", b'{"choices": []}'])
async def test_a_whole_answer_of_another_shape(body: bytes) -> None:
    async with server(reply(body)) as url, ZooClient(url) as client:
        with pytest.raises(UpstreamFailed):
            await client.chat(BODY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"data: nonsense\n\n",
        b"data: []\n\n",
        b'data: {"choices": [1]}\n\n',
        b'data: {"choices": {"a": 1}}\n\n',
        b"<html>",
    ],
)
async def test_a_stream_of_another_shape(body: bytes) -> None:
    async with server(reply(body, "text/event-stream")) as url, ZooClient(url) as client:
        with pytest.raises(UpstreamFailed):
            async for _ in client.stream_chat(BODY):
                pass


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"data": 1}'])
async def test_a_list_of_models_of_another_shape(body: bytes) -> None:
    async with server(reply(body)) as url, ZooClient(url) as client:
        with pytest.raises(UpstreamFailed):
            await client.models()


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": 1}', b'{"error": {"message": "no"}}'])
async def test_an_error_keeps_status_request_id_and_retry_after(body: bytes) -> None:
    full = reply(body, status="429 Too Many Requests")
    async with server(full) as url, ZooClient(url) as client:
        with pytest.raises(APIError) as told:
            await client.chat(BODY)
    fault = told.value
    assert (fault.status, fault.retryable, fault.retry_after) == (429, True, 7.0)
    assert fault.request_id == "r1"


async def test_nobody_there_and_nobody_speaks() -> None:
    async with server(b"") as url:
        gone = url
    async with ZooClient(gone) as client:
        with pytest.raises(Unavailable, match=gone):
            await client.models()
    async with server(b"", silent=True) as url, ZooClient(url, read_timeout=0.2) as client:
        with pytest.raises(UpstreamTimeout):
            await client.models()
