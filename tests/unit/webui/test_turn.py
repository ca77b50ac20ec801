import asyncio
from contextlib import aclosing

from prometheus_client import CollectorRegistry

from services.webui.metrics import WebuiMetrics
from services.webui.turn import UPDATE_SECONDS, Turn
from shared.client import APIError, Delta
from shared.errors import Unavailable, UpstreamFailed
from tests.fakes.scripted_client import ScriptedClient, said


def a_turn(client, registry=None):
    return Turn(client, {"model": "demo"}, WebuiMetrics(registry or CollectorRegistry()))


async def test_each_text_holds_the_whole_answer_so_far():
    gate = asyncio.Event()
    turn = a_turn(ScriptedClient([Delta("Hel"), gate, *said("lo")]))
    texts = []
    async for text in turn.texts():
        texts.append(text)
        gate.set()
    assert texts in (["Hel"], ["Hel", "Hello"])
    assert turn.outcome.text == "Hello"
    assert turn.outcome.finish == "stop"
    assert turn.outcome.request_id == "req-1"


async def test_a_burst_of_pieces_is_few_updates():
    turn = a_turn(ScriptedClient(said(*["x"] * 5000)))
    started = asyncio.get_running_loop().time()
    texts = [text async for text in turn.texts()]
    elapsed = asyncio.get_running_loop().time() - started
    assert len(texts) <= elapsed / UPDATE_SECONDS + 2
    assert turn.outcome.text == "x" * 5000


async def test_stop_keeps_the_partial_text_and_closes_the_request():
    never = asyncio.Event()
    client = ScriptedClient([Delta("partial", request_id="req-7"), never])
    turn = a_turn(client)
    async for _ in turn.texts():
        turn.stop()
    assert client.closed_early == 1
    assert turn.outcome.text == "partial"
    assert turn.outcome.finish == "cancelled"
    assert turn.outcome.request_id == "req-7"
    assert turn.outcome.fault is None


async def test_stop_before_the_first_piece_ends_the_turn():
    client = ScriptedClient([asyncio.Event()])
    turn = a_turn(client)
    texts = asyncio.create_task(anext(turn.texts(), None))
    await client.asked.wait()
    turn.stop()
    assert await texts is None
    assert client.closed_early == 1


async def test_a_turn_stopped_before_it_began_asks_for_nothing():
    client = ScriptedClient(said("never"))
    turn = a_turn(client)
    turn.stop()
    assert [text async for text in turn.texts()] == []
    assert client.bodies == []


async def test_leaving_the_texts_closes_the_request():
    client = ScriptedClient([Delta("a"), asyncio.Event()])
    async with aclosing(a_turn(client).texts()) as texts:
        await anext(texts)
    assert client.closed_early == 1


async def test_an_error_keeps_text_cause_and_request_id():
    registry = CollectorRegistry()
    fault = APIError(503, {"message": "worker gone", "type": "server_error"}, "req-9", None)
    turn = a_turn(ScriptedClient([Delta("par"), Delta("tial"), fault]), registry)
    assert [text async for text in turn.texts()][-1] == "partial"
    assert turn.outcome.finish == "error"
    assert turn.outcome.fault is fault
    assert turn.outcome.request_id == "req-9"
    errors = {"type": "server_error"}
    assert registry.get_sample_value("llmzoo_request_errors_total", errors) == 1


async def test_types_of_errors_that_a_stranger_makes_up_are_one():
    registry = CollectorRegistry()
    metrics = WebuiMetrics(registry)
    for number in range(3):
        fault = APIError(500, {"type": f"made-up-{number}"}, "", None)
        turn = Turn(ScriptedClient([fault]), {"model": "demo"}, metrics)
        assert [text async for text in turn.texts()] == []
    told = {
        sample.labels["type"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "llmzoo_request_errors_total"
    }
    assert len(told) == 6
    assert (told["other"], sum(told.values())) == (3, 3)


async def test_each_turn_asks_under_an_id_of_its_own_which_is_known_if_nobody_answers():
    ids = set()
    for _ in range(2):
        client = ScriptedClient([Unavailable("nobody there")])
        turn = a_turn(client)
        assert [text async for text in turn.texts()] == []
        assert client.request_ids == [turn.outcome.request_id]
        ids.add(turn.outcome.request_id)
    assert len(ids) == 2


async def test_a_broken_connection_keeps_the_request_id_seen_before():
    turn = a_turn(ScriptedClient([Delta("a", request_id="req-3"), UpstreamFailed("broke off")]))
    async for _ in turn.texts():
        pass
    assert turn.outcome.request_id == "req-3"


async def test_endings_and_first_tokens_are_counted():
    registry = CollectorRegistry()
    for finish_reason in ("stop", "length"):
        client = ScriptedClient(said("a", finish_reason=finish_reason))
        metrics = WebuiMetrics(CollectorRegistry() if finish_reason == "stop" else registry)
        turn = Turn(client, {}, metrics)
        async for _ in turn.texts():
            pass
    sample = registry.get_sample_value
    assert sample("llmzoo_webui_requests_total", {"finish_reason": "length"}) == 1
    assert sample("llmzoo_webui_requests_total", {"finish_reason": "stop"}) == 0
    assert sample("llmzoo_time_to_first_token_seconds_count") == 1


async def test_the_times_span_the_answer():
    turn = a_turn(ScriptedClient(said("a")))
    async for _ in turn.texts():
        pass
    assert turn.outcome.start < turn.outcome.end
