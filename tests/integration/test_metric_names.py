"""Every metric of every service: name, type, labels and buckets, which dashboards are built on.

A metric that is renamed, or has another label, breaks somebody's panel: whoever changes this table
says so in CHANGELOG.md.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.metadata import version

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)

from services.evaluator.app import create_app as create_evaluator
from services.webui.app import create_app as create_webui
from services.worker.served_model import Compression
from shared.http.server import Service
from shared.settings import EvaluatorSettings, WebuiSettings
from tests.fakes.endpoints_file import write_endpoints
from tests.fakes.metric_shapes import Shape, shapes
from tests.fakes.running_worker import RunningWorker
from tests.fakes.scripted_model import scripted_model
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import FakeWorker, answer

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

OPEN_METRICS = "application/openmetrics-text"
KEY = "a key for metrics"


BUCKETS = {
    "ttft": "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 20 40 80 160 640 inf",
    "token": "0.005 0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 inf",
    "latency": "0.05 0.1 0.2 0.3 0.5 0.8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 inf",
    "length": "1 2 5 10 20 50 100 200 500 1000 2000 5000 10000 20000 50000 100000 inf",
    "overhead": "5e-05 0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.5 1 inf",
    "lag": "0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 inf",
    "stall": "0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 inf",
}

EVERY = """
build_info gauge service version
heartbeat_age_seconds gauge
heartbeats_total counter outcome
"""
CONTROLLER = """
call_store_bytes gauge kind
call_store_calls_total counter outcome
call_store_evictions_total counter
call_store_lost_answers_total counter
call_store_lost_leases_total counter
call_store_running gauge
call_store_unstored_total counter reason
cancellations_total counter phase
e2e_request_latency_seconds histogram model : latency
endpoint_cost_total counter currency endpoint
endpoint_first_byte_seconds histogram endpoint : ttft
endpoint_inflight gauge endpoint
endpoint_places gauge endpoint
endpoint_put_aside gauge endpoint
endpoint_requests_total counter endpoint outcome
endpoint_retries_total counter endpoint
endpoint_tokens_total counter endpoint kind
endpoint_untold_usage_total counter endpoint
endpoint_waiting gauge endpoint
event_loop_lag_seconds histogram : lag
event_loop_tasks gauge
generation_tokens_total counter model
http_requests_total counter code route
inflight_requests gauge
migration_stall_seconds histogram : stall
migrations_failed_total counter cause reason
migrations_total counter cause exactness
prompt_tokens_total counter model
queue_depth gauge priority
queue_wait_seconds histogram : ttft
reattachments_total counter by
redis_memory_bytes gauge kind
redis_up gauge
registry_staleness_seconds gauge
rejections_total counter reason
request_time_per_output_token_seconds histogram model : token
router_overhead_seconds histogram : overhead
router_prefix_hits_total counter worker
router_prefix_queries_total counter worker
router_retries_total counter reason
time_to_first_token_seconds histogram model : ttft
worker_breaker_opened_total counter worker
worker_breaker_state gauge worker
worker_heartbeat_age_seconds gauge worker
worker_inflight gauge worker
worker_selections_total counter policy
workers gauge model state
"""
WORKER = """
compression_bytes gauge kind model
compression_ratio gauge model
compression_seconds gauge model
e2e_request_latency_seconds histogram model : latency
engine_faults_total counter model
engine_resumed_sequences_total counter model
engine_steps_total counter model
generation_tokens_total counter model
inflight_requests gauge model
inter_token_latency_seconds histogram model : token
kv_cache_usage_ratio gauge model
kv_cache_waste_ratio gauge model
model_load_seconds gauge model
num_orphans gauge model
num_preemptions_total counter model
num_requests_running gauge model
num_requests_waiting gauge model
orphans_total counter model outcome
prefix_cache_hits_total counter model
prefix_cache_queries_total counter model
prompt_tokens_total counter model
request_decode_time_seconds histogram model : latency
request_errors_total counter model type
request_generation_tokens histogram model : length
request_inference_time_seconds histogram model : latency
request_prefill_time_seconds histogram model : ttft
request_prompt_tokens histogram model : length
request_queue_time_seconds histogram model : ttft
request_success_total counter finish_reason model
request_time_per_output_token_seconds histogram model : token
spec_decode_accepted_tokens_total counter model
spec_decode_draft_tokens_total counter model
time_to_first_token_seconds histogram model : ttft
worker_info gauge device dtype model quantization version
worker_state gauge model state
"""
EVALUATOR = """
eval_faults_total counter
eval_items_total counter outcome
eval_job_seconds histogram state : latency
eval_jobs gauge state
eval_oldest_progress_age_seconds gauge
eval_runs_lost_total counter
judge_call_seconds histogram : latency
judge_calls_total counter outcome
"""
WEBUI = """
request_errors_total counter type
time_to_first_token_seconds histogram : ttft
webui_log_failures_total counter
webui_requests_total counter finish_reason
webui_sessions gauge
webui_votes_total counter kind
"""
TABLES = {
    "controller": CONTROLLER,
    "worker": WORKER,
    "evaluator": EVALUATOR,
    "webui": WEBUI,
}


def table(rows: str) -> dict[str, Shape]:
    """Read rows: name without its prefix, type, labels and, behind a colon, which buckets."""
    found: dict[str, Shape] = {}
    for row in rows.strip().splitlines():
        words, _, buckets = row.partition(" : ")
        name, kind, *labels = words.split()
        bounds = BUCKETS[buckets] if buckets else ""
        found[f"llmzoo_{name}"] = Shape.of(kind, " ".join(labels), bounds)
    return found


@pytest.fixture
async def controller(start_controller, announce, tmp_path):
    """One that has seen one worker, and serves one endpoint."""
    fields = {
        "name": "ext",
        "base_url": "http://127.0.0.1:9/v1",
        "models": [{"name": "m", "prices": {"input": 1.0, "output": 2.0}}],
    }
    started = await start_controller(endpoints_file=write_endpoints(tmp_path, fields))
    await announce(FakeWorker(answer("fine")))
    await started.sees("worker-1")

    async def redis_is_known() -> bool:
        return await started.metric("llmzoo_redis_memory_bytes", kind="used") > 0

    await eventually(redis_is_known)
    return started.client


@pytest.fixture
async def worker() -> AsyncIterator[httpx.AsyncClient]:
    """One with a compressed model."""
    served, _ = scripted_model()
    packed = replace(served, compression=Compression(100, 40, 1.5), quantization="int8")
    running = await RunningWorker.with_model(packed)
    yield running.client
    await running.stop()


def client_of(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(service.app), base_url="http://127.0.0.1:1"
    )


@pytest.fixture
async def evaluator():
    return client_of(create_evaluator(EvaluatorSettings(), "http://127.0.0.1:1"))


@pytest.fixture
async def webui():
    return client_of(create_webui(WebuiSettings(), "http://127.0.0.1:1"))


@pytest.fixture(params=["controller", "worker", "evaluator", "webui"])
def service(request):
    return request.param


@pytest.fixture
def client(request, service):
    return request.getfixturevalue(service)


async def test_a_service_measures_this_and_nothing_else(client, service):
    told = shapes((await client.get("/metrics")).text)
    own = {name for name in told if name.startswith("process_")}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= own
    assert {name: told[name] for name in told.keys() - own} == table(EVERY) | table(TABLES[service])


async def test_each_form_has_its_content_type_and_no_series_of_creation(client, service):
    plain = await client.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    accept = f"{OPEN_METRICS};version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.5"
    opened = await client.get("/metrics", headers={"accept": accept})
    assert opened.headers["content-type"] == f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"
    samples = [
        sample
        for family in open_metrics_families(opened.text)
        for sample in family.samples
        if not sample.name.startswith("process_")
    ]
    assert {f"llmzoo_{name}" for name in ("build_info", "heartbeats_total")} <= {
        sample.name for sample in samples
    }
    for text in (plain.text, opened.text):
        assert "_created" not in text
        assert f'llmzoo_build_info{{service="{service}",version="{version("llmzoo")}"}} 1' in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_finds_no_fault(client):
    text = (await client.get("/metrics")).text
    checked = await asyncio.to_thread(
        subprocess.run,
        ["promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
