"""The web UI's composition: which objects there are and how they meet.

Owns nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.webui.actions import ChatActions, PageActions
from services.webui.chat import Chat
from services.webui.content_policy import ContentPolicy
from services.webui.conversation_log import ConversationLog
from services.webui.metrics import WebuiMetrics
from services.webui.model_list import ModelList
from services.webui.mounting import mount_page
from services.webui.page import build
from services.webui.sessions import Sessions
from shared.client import ZooClient
from shared.http import faults
from shared.http.operations import Readiness, operations_routes
from shared.http.request_id import RequestIdMiddleware
from shared.http.server import Service
from shared.protocol.workers import ServiceRecord, State
from shared.registry import Heartbeat, HeartbeatMetrics
from shared.registry.record import own_record
from shared.settings import WebuiSettings

_PAGE_TRAFFIC = ("/gradio_api/", "/assets/", "/static/", "/theme.css", "/config")


def create_app(settings: WebuiSettings, address: str) -> Service:
    """Return the web UI.

    Args:
        settings: everything that can be chosen.
        address: base URL under which this process is reached; announced in the registry.
    """
    registry = CollectorRegistry()
    metrics = WebuiMetrics(registry)
    client = ZooClient(settings.base_url, settings.api_key.get_secret_value())
    models = ModelList(client)
    sessions = Sessions(metrics)
    conversation_log = ConversationLog(settings.log_dir, metrics, with_texts=settings.log_content)
    chat = Chat(client, models, conversation_log, sessions, metrics)
    draining = asyncio.Event()
    heartbeat = Heartbeat(settings, _record_source(address, draining), HeartbeatMetrics(registry))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        heartbeat.start()
        tasks = [
            asyncio.create_task(models.run(), name="model list"),
            asyncio.create_task(_finish(draining, sessions, hang_up), name="finish"),
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()
        await asyncio.to_thread(heartbeat.stop)

    def readiness() -> Readiness:
        fault = models.catalogue.fault
        return Readiness(
            ready=not draining.is_set(),
            state=State.DRAINING if draining.is_set() else State.READY,
            detail={
                "controller": fault or ("ok" if models.catalogue.known else "not asked yet"),
                "registry": "ok" if heartbeat.reachable else "unreachable",
            },
        )

    app = FastAPI(
        title="LLM Zoo web UI", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    faults.install(app)
    app.router.routes.extend(operations_routes("webui", registry, readiness))
    hang_up = mount_page(app, build(ChatActions(chat), PageActions(models, sessions)))
    # A page asks for the models every other second: not worth a line in the log each time.
    guarded = RequestIdMiddleware(ContentPolicy(app), quiet=_PAGE_TRAFFIC)
    return Service(guarded, draining.set)


async def _finish(draining: asyncio.Event, sessions: Sessions, hang_up: Callable[[], None]) -> None:
    """Wait for the end; let the answers in the making come out, then let the pages go."""
    await draining.wait()
    await sessions.idle()
    hang_up()


def _record_source(address: str, draining: asyncio.Event) -> Callable[[], ServiceRecord]:
    record = own_record("webui", address).model_copy(update={"state": State.READY})
    leaving = record.model_copy(update={"state": State.DRAINING})
    return lambda: leaving if draining.is_set() else record
