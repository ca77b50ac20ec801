import asyncio

from prometheus_client import CollectorRegistry

from services.webui.metrics import WebuiMetrics
from services.webui.sessions import Sessions
from services.webui.turn import Turn
from tests.fakes.scripted_client import ScriptedClient


async def test_open_pages_are_counted_once_each():
    registry = CollectorRegistry()
    sessions = Sessions(WebuiMetrics(registry))
    for session in ("a", "b", "a"):
        sessions.arrive(session)
    assert registry.get_sample_value("llmzoo_webui_sessions") == 2
    sessions.leave("a")
    sessions.leave("never seen")
    assert registry.get_sample_value("llmzoo_webui_sessions") == 1


async def test_idle_waits_for_the_last_answer():
    metrics = WebuiMetrics(CollectorRegistry())
    sessions = Sessions(metrics)
    await sessions.idle()
    turn = Turn(ScriptedClient(), {}, metrics)
    sessions.begin("a", turn)
    waiting = asyncio.create_task(sessions.idle())
    await asyncio.sleep(0)
    assert not waiting.done()
    sessions.end("a", turn)
    await waiting
