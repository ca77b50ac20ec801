"""The running zoo answers through every door a user has."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING

import httpx
import orjson
import pytest
from openai import NotFoundError, OpenAI

from tests.e2e.zoo import LLMZOO, get, get_json
from tests.fakes.scrape import sample

if TYPE_CHECKING:
    from tests.e2e.zoo import Zoo

pytestmark = [pytest.mark.e2e, pytest.mark.model]

QUESTION = "What is the capital of France?"


def test_it_announces_five_lines(zoo: Zoo) -> None:
    assert zoo.line("Chat:") == zoo.webui
    assert zoo.line("API:") == f"{zoo.api}/v1"
    assert zoo.line("Metrics:") == f"{zoo.api}/metrics"
    assert zoo.line("Try:").startswith("curl ")
    assert "llmzoo down" in zoo.line("Stop:")


def test_the_announced_curl_line(zoo: Zoo) -> None:
    answer = orjson.loads(zoo.run(*shlex.split(zoo.line("Try:")), "-sS").stdout)
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["object"] == "chat.completion"


def test_the_terminal(zoo: Zoo) -> None:
    asked = zoo.run(LLMZOO, "chat", "--temperature", "0", QUESTION)
    assert asked.returncode == 0, asked.stderr
    assert "Paris" in asked.stdout


def test_a_pipe(zoo: Zoo) -> None:
    asked = zoo.run(LLMZOO, "chat", "--temperature", "0", input=QUESTION)
    assert "Paris" in asked.stdout


def test_the_openai_client_whole_and_streamed(zoo: Zoo) -> None:
    with OpenAI(base_url=f"{zoo.api}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["demo"]
        asked = {
            "model": "demo",
            "messages": [{"role": "user", "content": QUESTION}],
            "temperature": 0,
            "max_tokens": 40,
        }
        whole = client.chat.completions.create(**asked)
        text = whole.choices[0].message.content
        assert text is not None
        assert "Paris" in text
        assert whole.usage is not None
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
        chunks = list(
            client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
        )
        pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
        assert "".join(pieces) == text
        assert len(pieces) > 3
        assert chunks[-1].usage == whole.usage
        plain = client.completions.create(
            model="demo", prompt="The capital of France is", max_tokens=5, temperature=0
        )
        assert "Paris" in plain.choices[0].text
        with pytest.raises(NotFoundError) as refused:
            client.chat.completions.create(**{**asked, "model": "gpt-9"})
        assert refused.value.code == "model_not_found"
        assert refused.value.param == "model"


def test_sampling_repeats_with_a_seed_and_differs_without(zoo: Zoo) -> None:
    with OpenAI(base_url=f"{zoo.api}/v1", api_key="none") as client:

        def ask(seed: int | None) -> str:
            answer = client.chat.completions.create(
                model="demo",
                messages=[{"role": "user", "content": "Tell me a story."}],
                temperature=1,
                top_p=0.9,
                max_tokens=24,
                **({} if seed is None else {"seed": seed}),
            )
            return answer.choices[0].message.content or ""

        assert ask(7) == ask(7)
        assert len({ask(None) for _ in range(4)}) > 1


async def test_many_streams_at_once_decode_together(zoo: Zoo) -> None:
    body = {"model": "demo", "stream": True, "max_tokens": 30, "temperature": 0}
    async with httpx.AsyncClient(base_url=zoo.api, timeout=120) as client:

        async def ask(number: int) -> str:
            messages = [{"role": "user", "content": f"Count to {number + 3}."}]
            lines = []
            async with client.stream(
                "POST", "/v1/chat/completions", json={**body, "messages": messages}
            ) as response:
                assert response.status_code == 200
                lines = [line async for line in response.aiter_lines() if line.startswith("data: ")]
            assert lines[-1] == "data: [DONE]"
            chunks = [orjson.loads(line[6:]) for line in lines[:-1]]
            return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)

        texts = await asyncio.gather(*(ask(number) for number in range(12)))
    assert all(texts)


def test_every_service_tells_of_itself(zoo: Zoo) -> None:
    for service, url in {
        "controller": zoo.api,
        "worker": zoo.worker,
        "webui": zoo.webui,
        "evaluator": zoo.evaluator,
    }.items():
        assert get(f"{url}/health/live")[0] == 200
        assert get(f"{url}/health/ready")[0] == 200
        assert get_json(f"{url}/version")["service"] == service
        status, metrics = get(f"{url}/metrics")
        assert status == 200
        assert b"process_resident_memory_bytes" in metrics
        assert b"llmzoo_heartbeats_total" in metrics


def test_metrics_have_real_values(zoo: Zoo) -> None:
    before = metric(zoo, "llmzoo_generation_tokens_total")
    zoo.run(*shlex.split(zoo.line("Try:")), "-sS")
    assert metric(zoo, "llmzoo_generation_tokens_total") > before
    assert metric(zoo, "llmzoo_inflight_requests") == 0


def test_prometheus_finds_all_services(zoo: Zoo) -> None:
    targets = orjson.loads(get(f"{zoo.api}/metrics/targets")[1])
    found = {group["targets"][0] for group in targets}
    services = (zoo.api, zoo.webui, zoo.evaluator, zoo.worker)
    assert found == {url.removeprefix("http://") for url in services}


def test_an_evaluation_job(zoo: Zoo) -> None:
    spec = {
        "name": "tiny",
        "questions": [{"text": QUESTION}, {"text": "Name a colour."}],
        "dimensions": ["general"],
        "mode": "scoring",
        "judge": {"model": "demo", "sampling": {"max_tokens": 32}},
    }
    with httpx.Client(base_url=zoo.evaluator, timeout=60) as client:
        created = client.post("/v1/evals", json=spec)
        assert created.status_code == 201, created.text
        runs = f"/v1/evals/{created.json()['id']}/runs"
        accepted = client.post(runs, json={"candidates": [{"model": "demo"}], "max_tokens": 30})
        assert accepted.status_code == 202, accepted.text
        run = accepted.headers["location"]
        zoo.wait_for(lambda: client.get(run).json()["status"] == "completed", 90)
        progress = client.get(run).json()["progress"]
        assert progress["total"] == 2
        assert progress["answered"] == 2
        assert progress["judged"] + progress["undecoded"] == 2
        items = client.get(f"{run}/output_items").json()["data"]
        assert all(item["answers"][0]["turns"] for item in items)


def test_workers_and_models_in_the_terminal(zoo: Zoo) -> None:
    workers = zoo.run(LLMZOO, "workers")
    assert workers.returncode == 0
    for word in ("worker", "controller", "webui", "evaluator", "ready"):
        assert word in workers.stdout
    assert "demo" in zoo.run(LLMZOO, "models").stdout


def test_a_second_zoo_beside_it_says_so(zoo: Zoo) -> None:
    second = zoo.run(*zoo.command)
    assert second.returncode == 1
    assert str(zoo.process.pid) in second.stdout + second.stderr
    assert zoo.api in second.stdout + second.stderr


def test_no_prompt_and_no_answer_is_logged(zoo: Zoo) -> None:
    zoo.run(LLMZOO, "chat", "--temperature", "0", "What is a xylophone?")
    assert "xylophone" not in zoo.text.lower()


def metric(zoo: Zoo, name: str) -> float:
    """Return a sample of the controller's, summed over labels."""
    return sample(get(f"{zoo.api}/metrics")[1].decode(), name)
