"""Every expression of dashboards and rules, asked of a real Prometheus that scrapes a real zoo.

The zoo: a controller, a worker over a scripted model, an evaluator; and a recorded answer of a
worker with two GPUs.
"""

from __future__ import annotations

import contextlib
import math

import pytest

from services.evaluator.app import create_app
from shared.settings import EvaluatorSettings
from tests.fakes.command_line import PROJECT
from tests.fakes.panels import PanelQuery, other_queries, panel_queries
from tests.fakes.prometheus_process import PrometheusProcess, needs_prometheus
from tests.fakes.prometheus_rules import rules
from tests.fakes.recorded_metrics import recorded_metrics
from tests.fakes.running_service import TOKEN, RunningService
from tests.fakes.running_worker import RunningWorker
from tests.fakes.scripted_model import MODEL, scripted_model
from tests.fakes.selections import selections
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, needs_prometheus]

KEY = "a-key-for-all"
BEATS = {"heartbeat_interval": 0.1, "heartbeat_ttl": 1.0}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "How are you?"}]}
SPEC = {
    "questions": [{"text": "How many legs has a spider?"}],
    "dimensions": ["general"],
    "mode": "scoring",
    "judge": {"model": MODEL},
}
RUN = {"candidates": [{"model": MODEL}]}
GPU_JOB = """
  - job_name: recorded
    static_configs:
      - targets: [127.0.0.1:{port}]
        labels: {{service: worker, worker: gpu-worker}}
"""


def saying(prompt: str, _choice: int) -> str:
    """As a judge give a score, else say something."""
    return "It is fine.\nScore: 7" if "Score" in prompt else "Eight legs, all of them fine."


@pytest.fixture
async def worker(redis_server):
    served, _ = scripted_model(saying, max_model_len=32_768)
    running = await RunningWorker.with_model(served, redis_url=redis_server.url, **BEATS)
    yield running
    await running.stop()


@pytest.fixture
async def controller(start_controller, worker):  # noqa: ARG001 - it is there first
    running = await start_controller(api_keys=[KEY])
    running.client.headers["authorization"] = f"Bearer {KEY}"
    return running


@pytest.fixture
async def evaluator(redis_server, controller):
    settings = EvaluatorSettings(
        redis_url=redis_server.url,
        internal_token=TOKEN,
        base_url=controller.url,
        api_key=KEY,
        **BEATS,
    )
    running = await RunningService(lambda url: create_app(settings, url), 22_000).listening()
    yield running
    await running.stop()


@pytest.fixture
async def prometheus(controller, evaluator, tmp_path):  # noqa: ARG001 - it is scraped
    recorded = (PROJECT / "tests/data/gpu_worker.prom").read_text()
    async with recorded_metrics(recorded) as port:
        jobs = GPU_JOB.format(port=port)
        address = f"127.0.0.1:{controller.port}"
        async with PrometheusProcess(tmp_path, address, KEY, jobs) as running:
            fleet = ("controller", "evaluator", "worker", "worker")
            await eventually(lambda: running.all_up(*fleet), 30)
            yield running


async def test_every_panel_has_data_after_one_chat_and_one_run(prometheus, controller):
    assert (await controller.client.post("/v1/chat/completions", json=CHAT)).is_success
    overview = [query for query in panel_queries() if query.board == "overview"]
    await have(finite, prometheus, overview)

    made = await controller.client.post("/v1/evals", json=SPEC)
    run = await controller.client.post(f"/v1/evals/{made.json()['id']}/runs", json=RUN)
    path = run.headers["location"]

    async def completed():
        return (await controller.client.get(path)).json()["status"] == "completed"

    await eventually(completed, 20)
    await have(bool, prometheus, [*panel_queries(), *panel_queries("20s"), *panel_queries("5m")])
    for query in other_queries():
        await prometheus.query(query.expr)
    await check_rules(prometheus)


async def check_rules(prometheus):
    """Check that they are evaluated, read what there is, and find nothing amiss."""
    # A label's value that nobody has would be no error.
    read = {each.text for rule in rules() for each in selections(rule["expr"])}
    await have(bool, prometheus, [PanelQuery("rules", "", text) for text in sorted(read)])

    async def evaluated():
        return all(rule["health"] != "unknown" for rule in await prometheus.rules())

    await eventually(evaluated, 10)
    told = await prometheus.rules()
    assert len(told) == len(rules())
    assert {rule["health"] for rule in told} == {"ok"}, told
    assert [rule["name"] for rule in told if rule.get("state") == "firing"] == []


async def have(data, prometheus, queries):
    """Wait until what each gives is `data`; scrapes and rules follow what happened."""
    without = []

    async def none_is_without():
        without[:] = [str(q) for q in queries if not data(await prometheus.query(q.expr))]
        return not without

    with contextlib.suppress(TimeoutError):
        await eventually(none_is_without, 15)
    assert without == []


def finite(result):
    return any(math.isfinite(float(each["value"][1])) for each in result)
