"""The official client against the controller and a real worker with a scripted model."""

from __future__ import annotations

import openai
import pytest

from tests.fakes.running_worker import RunningWorker
from tests.fakes.scripted_model import MODEL, scripted_model
from tests.fakes.waiting import eventually
from tests.integration.conftest import fleet_settings

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

KEY = "the-right-key"
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def controller(start_controller):
    return await start_controller(api_keys=[KEY])


@pytest.fixture
def connect(controller):
    """A function that returns a client with a key."""

    def make(key=KEY):
        return openai.AsyncOpenAI(
            base_url=f"{controller.url}/v1",
            api_key=key,
            http_client=controller.client,
            max_retries=0,
        )

    return make


@pytest.fixture
async def client(redis_server, connect):
    """A client, once the worker is seen."""
    served, _ = scripted_model("Hello there!")
    worker = await RunningWorker.with_model(served, **fleet_settings(redis_server.url))
    client = connect()

    async def ready():
        # It is listed from its worker's first second on.
        listed = [(model.id, model.state) async for model in client.models.list()]
        return listed == [(MODEL, "ready")]

    try:
        await eventually(ready)
        yield client
    finally:
        await worker.stop()


async def test_models_are_listed_and_one_is_retrieved(client):
    model = await client.models.retrieve(MODEL)
    assert (model.id, model.object, model.owned_by) == (MODEL, "model", "llmzoo")
    assert model.created > 0
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found"


async def test_a_chat_whole_and_streamed_is_the_same(client):
    whole = await client.chat.completions.create(model=MODEL, messages=HI, n=2, seed=1)
    assert [choice.message.content for choice in whole.choices] == ["Hello there!"] * 2
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    stream = await client.chat.completions.create(
        model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(deltas) == "Hello there!"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens / 2
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_completion_whole_and_streamed_is_the_same(client):
    whole = await client.completions.create(model=MODEL, prompt=["a", "b"])
    assert [choice.text for choice in whole.choices] == ["Hello there!"] * 2
    stream = await client.completions.create(model=MODEL, prompt="a", stream=True)
    text = "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])
    assert text == "Hello there!"


async def test_the_helper_for_streams_assembles_the_answer(client):
    async with client.chat.completions.stream(model=MODEL, messages=HI) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "Hello there!"


async def test_raw_answers_carry_the_request_id(client):
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL, messages=HI, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"
    assert raw.parse()._request_id == "mine-1"
    plain = await client.chat.completions.create(model=MODEL, messages=HI)
    assert plain._request_id.startswith("req-")


async def test_faults_are_the_clients_own_exceptions(client, connect):
    async def fault(of, asked=client, **changes):
        body = {"model": MODEL, "messages": HI, **changes}
        with pytest.raises(of) as caught:
            await asked.chat.completions.create(**body)
        assert caught.value.request_id
        return caught.value

    assert (await fault(openai.BadRequestError, temperature=9)).param == "temperature"
    assert (await fault(openai.BadRequestError, extra_body={"odd": 1})).param == "odd"
    assert (await fault(openai.NotFoundError, model="nobody")).code == "model_not_found"
    wrong = connect("a-wrong-key")
    assert (await fault(openai.AuthenticationError, wrong)).code == "invalid_api_key"
    made = await connect().post(
        "/../admin/keys", body={"name": "x", "scopes": ["metrics"]}, cast_to=object
    )
    lacking = connect(made["key"])
    assert (await fault(openai.PermissionDeniedError, lacking)).code == "insufficient_scope"


async def test_without_a_worker_and_over_a_limit_it_says_when_to_come_back(connect, client):
    made = await client.post(
        "/../admin/keys", body={"name": "x", "requests_per_minute": 1}, cast_to=object
    )
    limited = connect(made["key"])
    await limited.chat.completions.create(model=MODEL, messages=HI)
    with pytest.raises(openai.RateLimitError) as caught:
        await limited.chat.completions.create(model=MODEL, messages=HI)
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert "x-ratelimit-limit-requests" in caught.value.response.headers


async def test_no_worker_is_an_internal_server_error_of_the_client(connect):
    with pytest.raises(openai.InternalServerError) as caught:
        await connect().chat.completions.create(model=MODEL, messages=HI)
    assert (caught.value.status_code, caught.value.code) == (503, "no_worker")
    assert int(caught.value.response.headers["retry-after"]) >= 1
