"""The controller that clients here ask: whether it answers, as whom, and what its fleet does.

Owns the questions to it. It is asked as any client would, with the key that is set.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import httpx
import orjson

from services.cli.doctor.check import Check, fail, ok, warn
from services.cli.doctor.clock import clock
from services.cli.doctor.fleet import Worker, ready_workers, refused
from services.cli.workers import service_state
from shared.client import api_error
from shared.http.loopback import is_loopback
from shared.protocol.workers import State
from shared.settings import ClientSettings

_ANSWER_SECONDS = 1.0
_OK, _NO_KEY, _FORBIDDEN = 200, 401, 403
_CALLERS = ("webui", "evaluator")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: bytes
    headers: Mapping[str, str]
    ahead: float | None
    """Seconds that the server's clock is ahead by its Date header; None: it sends none."""

    def body(self) -> dict[str, Any]:
        try:
            told: object = orjson.loads(self.content)
        except orjson.JSONDecodeError:
            return {}
        return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def controller(settings: ClientSettings, *, service: str, in_container: bool) -> Iterator[Check]:
    """Find whether the controller answers, with which models, and how its fleet is.

    Args:
        settings: where it is, and the key.
        service: of the container that this is, if it is one of ours.
        in_container: whether this is one at all.
    """
    try:
        yield from _proxy(settings.base_url)
        with _client(settings) as client:
            version = _ask(client, "/version")
            listed = _ask(client, "/v1/models")
            stats = _ask(client, "/v1/stats")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as fault:
        told = f"LLMZOO_BASE_URL is {settings.base_url!r}: {fault}"
        yield fail("controller", told, "give a base URL, http://127.0.0.1:8000")
        return
    except httpx.HTTPError as fault:
        yield from _unreachable(settings, fault, service=service, in_container=in_container)
        return
    yield _answering(settings, listed, service)
    if version.ahead is not None:
        yield clock("the controller", version.ahead, coarse=1.0)
    if stats.status == _OK and "services" in (told := stats.body()):
        yield from _fleet(told, has_models=bool(listed.body().get("data")))


def _client(settings: ClientSettings) -> httpx.Client:
    key = settings.api_key.get_secret_value()
    return httpx.Client(
        base_url=settings.base_url.rstrip("/").removesuffix("/v1"),
        headers={"authorization": f"Bearer {key}"} if key else {},
        timeout=_ANSWER_SECONDS,
        trust_env=False,
    )


def _ask(client: httpx.Client, path: str) -> _Answer:
    response = client.get(path)
    date = response.headers.get("date", "")
    try:
        # Wall clocks are the subject.
        ahead = parsedate_to_datetime(date).timestamp() - time.time()  # noqa: TID251
    except ValueError:
        ahead = None
    return _Answer(response.status_code, response.content, response.headers, ahead)


def _unreachable(
    settings: ClientSettings, fault: httpx.HTTPError, *, service: str, in_container: bool
) -> Iterator[Check]:
    url = settings.base_url
    why = str(fault) or type(fault).__name__
    here = is_loopback(urlsplit(url).hostname or "")
    if in_container and here and service == "worker":
        yield ok("controller", "not in this container; workers find it through Redis")
    elif in_container and here and service in _CALLERS:
        told = f"LLMZOO_BASE_URL is {url}, which inside a container is the container itself"
        yield fail("controller", told, "LLMZOO_BASE_URL=http://controller:8000")
    elif "ame or service not known" in why or "Name resolution" in why or "No address" in why:
        fix = "the name `controller` exists inside compose only; on its host use http://127.0.0.1:8000"
        yield fail("controller", f"LLMZOO_BASE_URL is {url}, a host that nobody knows here", fix)
    elif "base_url" in settings.model_fields_set:
        fix = "start it, or correct LLMZOO_BASE_URL"
        yield fail("controller", f"nothing answers at {url} ({why})", fix)
    else:
        fix = "start it (`llmzoo up`), or set LLMZOO_BASE_URL"
        yield warn("controller", f"nothing answers at {url}", fix)


def _answering(settings: ClientSettings, listed: _Answer, service: str) -> Check:
    url, name = settings.base_url, "controller"
    if listed.status in {_NO_KEY, _FORBIDDEN}:
        if not settings.api_key.get_secret_value():
            if service and service not in _CALLERS:
                return ok(
                    name, f"{url} answers; it asks for a key, the fleet is seen through Redis"
                )
            told = f"{url} answers, and asks for a key, so that its fleet is not seen from here"
            return warn(name, told, "set LLMZOO_API_KEY")
        told = api_error(listed.status, listed.headers, listed.content).message
        fix = "set LLMZOO_API_KEY to a key of this controller (`llmzoo key create`)"
        return fail(name, f"{url} does not take LLMZOO_API_KEY: {told}", fix)
    if listed.status != _OK:
        told = api_error(listed.status, listed.headers, listed.content).message
        return fail(name, f"{url}: {told}", "see the controller's log")
    entries: object = listed.body().get("data")
    if not isinstance(entries, list):
        told = f"what answers at {url} is no OpenAI-compatible server"
        return fail(name, told, "correct LLMZOO_BASE_URL, or end what has the controller's port")
    models = [str(entry.get("id")) for entry in cast("list[dict[str, Any]]", entries)]
    return ok(name, f"{url} serves {', '.join(models) or 'no model yet'}")


def _fleet(stats: Mapping[str, Any], *, has_models: bool) -> Iterator[Check]:
    """Yield what the controller tells of Redis, of its workers, and of those that it refuses."""
    if not stats["registry"]["reachable"]:
        told = "the controller cannot reach Redis, and goes on with what it knew last"
        yield fail("registry", told, "start Redis, or correct LLMZOO_REDIS_URL of the controller")
    workers = [_worker(each) for each in stats["services"] if each["kind"] == "worker"]
    if workers or not has_models:  # else all models are those of other servers
        yield ready_workers(workers)
    yield from refused("workers", {each["id"]: each["reason"] for each in stats["refused"]})


def _worker(entry: Mapping[str, Any]) -> Worker:
    ready = entry["state"] == State.READY and not entry["stale"]
    return Worker(entry["id"], service_state(dict(entry)), entry["detail"], ready=ready)


def _proxy(url: str) -> Iterator[Check]:
    """Find whether a proxy stands between other clients and the controller."""
    parts = urlsplit(url)
    proxies = getproxies_environment()
    host = parts.hostname or ""
    if not proxies.get(parts.scheme) or proxy_bypass(host):
        return
    told = (
        f"{parts.scheme}_proxy is set and no_proxy does not hold {host}: curl and OpenAI's client "
        "ask the proxy for it (LLM Zoo itself does not)"
    )
    yield warn("proxy", told, f"export no_proxy={host},controller (and NO_PROXY)")
