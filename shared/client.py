"""The client of LLM Zoo's own API, for the web UI, the evaluator and the command line.

Owns one pool of connections to the controller and turns its answers into plain types and its
error objects into our errors. It speaks the public API only, so it works against any
OpenAI-compatible server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
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
from shared.protocol.sse import SSEDecoder

_CONNECT_SECONDS = 5.0
_PASSING = (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS)


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
        self.retryable = status in _PASSING or status >= httpx.codes.INTERNAL_SERVER_ERROR
        self.type = str(error.get("type") or "server_error")
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class Delta:
    """One piece of a streamed answer; the last ones carry reason and usage."""

    text: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    text: str
    finish_reason: str
    usage: dict[str, Any] = field(default_factory=dict[str, Any])
    request_id: str = ""


class ZooClient:
    """Asks one controller. Use it as an async context manager."""

    def __init__(self, base_url: str, api_key: str = "", read_timeout: float = 300.0) -> None:
        """Prepare; nothing is connected before the first call.

        Args:
            base_url: the controller, with or without `/v1`.
            api_key: sent as a bearer token when not empty.
            read_timeout: seconds of silence after which a call fails.
        """
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

    async def chat(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
        """Return one whole answer to a chat request.

        Raises:
            APIError: the server answered with an error.
            Unavailable: no connection. UpstreamTimeout: silence. UpstreamFailed: no JSON, or
            the connection broke off.
        """
        answer = await self._json("POST", "/v1/chat/completions", body, headers)
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] or ""
            finish_reason = choice["finish_reason"] or ""
        except (KeyError, IndexError, TypeError):
            text = finish_reason = None
        if not isinstance(text, str) or not isinstance(finish_reason, str):
            msg = f"{self.base_url} answered with something that is no chat completion."
            raise MalformedAnswer(msg)
        return Answer(text, finish_reason, answer.get("usage") or {}, answer["_request_id"])

    async def stream_chat(self, body: dict[str, Any]) -> AsyncGenerator[Delta]:
        """Yield the pieces of a streamed answer; closing the iterator ends the request.

        Raises:
            as `chat`; an error event in the stream is raised as APIError.
        """
        request = self._http.build_request(
            "POST", "/v1/chat/completions", json={**body, "stream": True}
        )
        try:
            response = await self._http.send(request, stream=True)
            try:
                if response.is_error:
                    await response.aread()
                    raise _api_error(response, response.content)
                async with aclosing(self._deltas(response)) as deltas:
                    async for delta in deltas:
                        yield delta
            finally:
                await response.aclose()
        except httpx.HTTPError as fault:
            raise self._connection_error(fault) from fault

    async def _deltas(self, response: httpx.Response) -> AsyncGenerator[Delta]:
        decoder = SSEDecoder()
        request_id = response.headers.get("x-request-id", "")
        async for piece in response.aiter_raw():
            try:
                events = list(decoder.feed(piece))
            except ValueError as fault:
                raise self._not_a_stream() from fault
            for data in events:
                if data == b"[DONE]":
                    return
                yield self._delta(data, request_id)
        msg = "The answer broke off before its end."
        raise UpstreamFailed(msg)

    def _delta(self, data: bytes, request_id: str) -> Delta:
        """Return what one event says; raises APIError for an error event."""
        try:
            chunk: dict[str, Any] = orjson.loads(data)
            if "error" in chunk:
                raise APIError(502, chunk["error"], request_id, None)
            # The usage chunk has no choice; a choice that only ends has no content.
            choices: list[dict[str, Any]] = chunk.get("choices") or [{}]
            choice = choices[0]
            delta: dict[str, Any] = choice.get("delta") or {}
            return Delta(
                text=delta.get("content") or "",
                finish_reason=choice.get("finish_reason"),
                usage=chunk.get("usage"),
                request_id=request_id,
            )
        except (orjson.JSONDecodeError, AttributeError, TypeError) as fault:
            raise self._not_a_stream() from fault

    def _not_a_stream(self) -> MalformedAnswer:
        return MalformedAnswer(f"{self.base_url} sent something that is no stream of answers.")

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
            raise self._connection_error(fault) from fault
        if response.is_error:
            raise _api_error(response, response.content)
        try:
            answer: Any = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            msg = f"{self.base_url}{path} answered with something that is no JSON object."
            raise MalformedAnswer(msg)
        answer = cast("dict[str, Any]", answer)
        answer["_request_id"] = response.headers.get("x-request-id", "")
        return answer

    def _connection_error(self, fault: httpx.HTTPError) -> LLMZooError:
        match fault:
            case httpx.ConnectError() | httpx.ConnectTimeout():
                return Unavailable(f"Nothing answers at {self.base_url} ({fault}).")
            case httpx.TimeoutException():
                return UpstreamTimeout(f"{self.base_url} did not answer in time.")
            case _:
                return UpstreamFailed(f"The connection to {self.base_url} broke off ({fault}).")


def _api_error(response: httpx.Response, content: bytes) -> APIError:
    try:
        body: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = {}
    error: Any = cast("dict[str, Any]", body).get("error") if isinstance(body, dict) else None
    retry_after = response.headers.get("retry-after", "")
    return APIError(
        response.status_code,
        cast("dict[str, Any]", error) if isinstance(error, dict) else {},
        response.headers.get("x-request-id", ""),
        float(retry_after) if retry_after.isdigit() else None,
    )
