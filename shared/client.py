"""The client of LLM Zoo's own API, for the web UI, the evaluator and the command line.

Owns one pool of connections to the controller and turns its answers into plain types and its
error objects into our errors. It speaks the public API only, so it works against any
OpenAI-compatible server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import httpx
import orjson

from shared.errors import (
    LLMZooError,
    MalformedAnswer,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from shared.http.retry_after import parse_retry_after
from shared.lasting_stream import LastingStream
from shared.protocol.event_id import CONTINUED_HEADER, LAST_EVENT_ID_HEADER
from shared.protocol.request_id import REQUEST_ID_HEADER

CHAT_PATH = "/v1/chat/completions"
_CONNECT_SECONDS = 5.0
_PASSING = (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS)
_NO_MONEY = "insufficient_quota"
"""OpenAI's code for an account that is empty; waiting does not fill it."""


class APIError(LLMZooError):
    """The server answered with an error object; `status` is the answer's."""

    def __init__(
        self, status: int, error: dict[str, Any], request_id: str, retry_after: float | None
    ) -> None:
        message = error.get("message")
        super().__init__(
            str(message) if message else f"The server answered {status}.",
            param=error.get("param"),
            code=error.get("code"),
            retry_after=retry_after,
        )
        self.status = status
        passing = status in _PASSING and self.code != _NO_MONEY
        self.retryable = passing or status >= httpx.codes.INTERNAL_SERVER_ERROR
        self.type = str(error.get("type") or "server_error")
        self.request_id = request_id
        self.faults = _faults(error)
        """Of a request with several faults: where each is (JSON pointer), and what it is."""


@dataclass(frozen=True, slots=True)
class Delta:
    """One piece of a streamed answer; the last ones carry reason and usage.

    One that says `reconnecting` carries nothing: the connection is lost, and it takes more than a
    second to replace it.
    """

    text: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    request_id: str = ""
    reconnecting: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; `logprobs` are the entries of the text's tokens, if any were told."""

    text: str
    finish_reason: str
    usage: dict[str, Any] = field(default_factory=dict[str, Any])
    request_id: str = ""
    model: str = ""
    system_fingerprint: str = ""
    logprobs: list[Any] | None = None
    replayed: bool = False
    """Whether it is that of an earlier call under the same Idempotency-Key."""
    repeats: int = 0
    """How often the call may have been made before; of calls with an Idempotency-Key alone."""


class ZooClient:
    """Asks one controller. Use it as an async context manager."""

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        read_timeout: float = 300.0,
        patience: float = 10.0,
    ) -> None:
        """Prepare; nothing is connected before the first call.

        Args:
            base_url: the controller, with or without `/v1`.
            api_key: sent as a bearer token when not empty.
            read_timeout: seconds of silence after which a call fails.
            patience: seconds for which a stream that lost its connection is sought again; as
                long as workers keep an answer, by default.
        """
        self._patience = patience
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            headers=headers,
            timeout=httpx.Timeout(read_timeout, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def models(self) -> list[dict[str, Any]]:
        """Return the entries of `GET /v1/models`."""
        listed: object = (await self.get("/v1/models")).get("data")
        if not isinstance(listed, list):
            msg = f"{self.base_url} answered with something that is no list of models."
            raise MalformedAnswer(msg)
        return cast("list[dict[str, Any]]", listed)

    async def get(self, path: str) -> dict[str, Any]:
        """Return the JSON object at `path`; raises as `chat`."""
        return await self._json("GET", path, None)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON answer to `body`; raises as `chat`."""
        return await self._json("POST", path, body)

    async def delete(self, path: str) -> dict[str, Any]:
        """Delete what is at `path` and return the JSON answer; raises as `chat`."""
        return await self._json("DELETE", path, None)

    @asynccontextmanager
    async def reading(
        self, path: str, headers: dict[str, str] | None = None, silence: float | None = None
    ) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """Yield the bytes at `path` as they come; entering and iterating raise as `chat`.

        Args:
            path: of a GET request.
            headers: sent beside the client's own.
            silence: seconds after which the connection counts as lost; None: as every call's.
        """
        request = self._http.build_request("GET", path, headers=headers)
        if silence is not None:
            request.extensions["timeout"] = httpx.Timeout(
                silence, connect=_CONNECT_SECONDS
            ).as_dict()
        response = await self._begun(request)
        try:
            yield _pieces(self.base_url, response)
        finally:
            await response.aclose()

    async def chat(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
        """Return one whole answer to a chat request.

        Raises:
            APIError: the server answered with an error.
            Unavailable: no connection. UpstreamTimeout: silence. UpstreamFailed: no JSON, or
            the connection broke off.
        """
        answer = await self._json("POST", CHAT_PATH, body, headers)
        return read_answer(answer, self.base_url, answer["_request_id"])

    async def stream_chat(
        self, body: dict[str, Any], request_id: str = ""
    ) -> AsyncGenerator[Delta]:
        """Yield the pieces of a streamed answer; closing the iterator ends the request.

        With a `request_id` it has that in the logs of all services. A lost connection is replaced,
        and the answer goes on where it was, if the server has told the ids of its events. What that failed of stands behind the cause of the loss.

        Raises:
            as `chat`; an error event in the stream is raised as APIError.
        """
        asked = self._http.build_request("POST", CHAT_PATH, json={**body, "stream": True})
        stream = LastingStream(partial(self._open, asked.content, request_id), self._patience)
        async with aclosing(stream.items()) as items:
            async for delta in items:
                yield delta or Delta(reconnecting=True)

    async def _open(self, body: bytes, request_id: str, after: str) -> _ChatConnection:
        """Ask for the answer to `body`, what follows the event id `after` of it if not empty."""
        headers = {"content-type": "application/json"}
        if request_id:
            headers[REQUEST_ID_HEADER] = request_id
        if after:
            headers[LAST_EVENT_ID_HEADER] = after
        request = self._http.build_request("POST", CHAT_PATH, content=body, headers=headers)
        response = await self._begun(request)
        if after and CONTINUED_HEADER not in response.headers:
            await response.aclose()
            raise MalformedAnswer(f"{self.base_url} began another answer.")
        return _ChatConnection(self.base_url, response)

    async def _begun(self, request: httpx.Request) -> httpx.Response:
        """Return an answer that has begun, for the caller to close; raises as `chat`."""
        async with AsyncExitStack() as opened:
            try:
                response = await self._http.send(request, stream=True)
                opened.push_async_callback(response.aclose)
                if response.is_error:
                    await response.aread()
            except httpx.HTTPError as fault:
                raise _connection_error(self.base_url, fault) from fault
            if response.is_error:
                raise api_error(response.status_code, response.headers, response.content)
            opened.pop_all()
        return response

    async def _json(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as fault:
            raise _connection_error(self.base_url, fault) from fault
        if response.is_error:
            raise api_error(response.status_code, response.headers, response.content)
        try:
            answer: Any = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            msg = f"{self.base_url}{path} answered with something that is no JSON object."
            raise MalformedAnswer(msg)
        answer = cast("dict[str, Any]", answer)
        answer["_request_id"] = response.headers.get(REQUEST_ID_HEADER, "")
        return answer


class _ChatConnection:
    """The answer to one chat request as it streams in."""

    def __init__(self, base_url: str, response: httpx.Response) -> None:
        self._base_url = base_url
        self._response = response
        self._request_id = response.headers.get(REQUEST_ID_HEADER, "")

    def pieces(self) -> AsyncGenerator[bytes]:
        return _pieces(self._base_url, self._response)

    def read(self, data: bytes) -> Delta:
        """Return what one event says; raises APIError for an error event."""
        try:
            chunk: dict[str, Any] = orjson.loads(data)
            if "error" in chunk:
                raise APIError(502, chunk["error"], self._request_id, None)
            # The usage chunk has no choice; a choice that only ends has no content.
            choices: list[dict[str, Any]] = chunk.get("choices") or [{}]
            choice = choices[0]
            delta: dict[str, Any] = choice.get("delta") or {}
            return Delta(
                text=delta.get("content") or "",
                finish_reason=choice.get("finish_reason"),
                usage=chunk.get("usage"),
                request_id=self._request_id,
            )
        except (orjson.JSONDecodeError, AttributeError, TypeError, LookupError) as fault:
            msg = f"{self._base_url} sent something that is no stream of answers."
            raise MalformedAnswer(msg) from fault

    async def close(self) -> None:
        await self._response.aclose()


def _faults(error: dict[str, Any]) -> list[tuple[str, str]]:
    listed: object = error.get("errors")
    if not isinstance(listed, list):
        return []
    return [
        (str(fault.get("pointer", "")), str(fault.get("message", "")))
        for fault in cast("list[Any]", listed)
        if isinstance(fault, dict)
        for fault in (cast("dict[str, Any]", fault),)
    ]


async def _pieces(base_url: str, response: httpx.Response) -> AsyncGenerator[bytes]:
    try:
        async for piece in response.aiter_raw():
            yield piece
    except httpx.HTTPError as fault:
        raise _connection_error(base_url, fault) from fault


def _connection_error(base_url: str, fault: httpx.HTTPError) -> LLMZooError:
    match fault:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return Unavailable(f"Nothing answers at {base_url} ({fault}).")
        case httpx.TimeoutException():
            return UpstreamTimeout(f"{base_url} did not answer in time.")
        case _:
            return UpstreamFailed(f"The connection to {base_url} broke off ({fault}).")


def api_error(status: int, headers: Mapping[str, str], content: bytes) -> APIError:
    """Return the error that an answer with a status from 400 on tells of; names in lower case."""
    try:
        body: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = {}
    error: Any = cast("dict[str, Any]", body).get("error") if isinstance(body, dict) else None
    return APIError(
        status,
        cast("dict[str, Any]", error) if isinstance(error, dict) else {},
        headers.get(REQUEST_ID_HEADER, ""),
        parse_retry_after(headers.get("retry-after")),
    )


def read_answer(body: dict[str, Any], base_url: str, request_id: str) -> Answer:
    """Return what a chat completion says. Raises MalformedAnswer."""
    try:
        choice: Any = body["choices"][0]
        text = choice["message"]["content"] or ""
        finish_reason = choice["finish_reason"] or ""
        logprobs: Any = choice["logprobs"]["content"] if choice.get("logprobs") else None
        usage: Any = body.get("usage")
    except (KeyError, IndexError, TypeError, AttributeError):
        text = finish_reason = logprobs = usage = None
    if not isinstance(text, str) or not isinstance(finish_reason, str):
        msg = f"{base_url} answered with something that is no chat completion."
        raise MalformedAnswer(msg)
    return Answer(
        text,
        finish_reason,
        cast("dict[str, Any]", usage) if isinstance(usage, dict) else {},
        request_id,
        model=str(body.get("model") or ""),
        system_fingerprint=str(body.get("system_fingerprint") or ""),
        logprobs=cast("list[Any]", logprobs) if isinstance(logprobs, list) else None,
    )
