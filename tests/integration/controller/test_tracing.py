"""Traces: W3C's headers go on to workers always; spans are made where they are switched on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shared.settings import child_environment
from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.span_receiver import SpanReceiver
from tests.fakes.worker_app import FakeWorker, Refusal, answer, steps

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
HEADERS = {"traceparent": TRACEPARENT, "tracestate": "vendor=1,other=2"}


def passed(worker):
    headers = worker.asked[-1].headers
    return {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}


async def test_the_headers_go_on_to_the_worker_unchanged(controller, worker):
    await controller.client.post(CHAT, json=BODY, headers=HEADERS)
    assert passed(worker) == HEADERS
    await controller.client.post(CHAT, json=BODY)
    assert passed(worker) == {}
    worker.script = steps(Refusal(200, b"{}"))
    await controller.client.post("/tokenize", json=BODY, headers=HEADERS)
    assert passed(worker) == HEADERS


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        TRACEPARENT + "-more",
    ],
)
async def test_what_is_no_trace_is_not_passed_on(controller, worker, odd):
    headers = {"traceparent": odd, "tracestate": "vendor=1"}
    assert (await controller.client.post(CHAT, json=BODY, headers=headers)).is_success
    assert passed(worker) == {}


@pytest.fixture
def receiver(monkeypatch):
    pytest.importorskip("opentelemetry.instrumentation.fastapi", reason="the extra otel is absent")
    with SpanReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        yield receiver


async def test_each_call_is_a_span_with_its_tokens_and_a_parent(
    receiver, start_controller, announce, capsys
):
    controller = await start_controller(otel=True)
    worker = FakeWorker(answer("Hel", "lo"))
    await announce(worker)
    await controller.sees(worker.name)

    await controller.client.post(CHAT, json=BODY, headers={**HEADERS, "x-request-id": "r-1"})
    unary = passed(worker)
    await controller.client.post(CHAT, json=STREAM)
    worker.script = steps(Refusal(400))
    await controller.client.post(CHAT, json=BODY)
    await controller.client.post(CHAT, json={**BODY, "model": "nobody"})
    await controller.client.get("/v1/models")
    await controller.client.get("/health/live")
    await controller.stop()

    calls = [span for span in receiver.spans if "gen_ai.operation.name" in span]
    one, streamed, refused, unknown = calls
    assert one["name"] == "chat toy"
    assert (one["trace"], one["parent"]) == (TRACE, PARENT)
    assert unary == {"traceparent": f"00-{TRACE}-{one['id']}-01", "tracestate": "vendor=1,other=2"}
    assert one["service"] == "llmzoo-controller"
    assert one["llmzoo.request.id"] == "r-1"
    for span in (one, streamed):
        assert span["gen_ai.usage.input_tokens"] == 3
        assert span["gen_ai.usage.output_tokens"] == 2
        assert (span["failed"], "error.type" in span) == (False, False)
    assert streamed["trace"] != TRACE
    assert streamed["events"] == ["first chunk"]
    logged = capsys.readouterr().out
    for trace in (TRACE, streamed["trace"]):
        assert f"trace_id={trace}" in logged
    assert (refused["http.response.status_code"], refused["failed"]) == (400, True)
    assert (unknown["http.response.status_code"], unknown["error.type"]) == (404, "model_not_found")
    # What the framework serves is told by its own hook; health checks are not.
    routes = {span.get("http.route") or span.get("http.target") for span in receiver.spans}
    assert "/v1/models" in routes
    assert not [route for route in routes if route and "health" in route]
    assert "hello" not in str(receiver.spans)


def run(code, **variables):
    environment = child_environment({"LLMZOO_REDIS_URL": "unix:///nonexistent", **variables})
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_the_packages_the_controller_says_what_to_install():
    done = run(
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from services.controller.__main__ import main; sys.exit(main())",
        LLMZOO_OTEL="1",
        LLMZOO_CONTROLLER_PORT="28731",
    )
    assert done.returncode == 2
    assert "llmzoo[otel]" in done.stderr
    assert "Traceback" not in done.stderr


def test_switched_off_nothing_of_it_is_imported():
    done = run(
        "import sys\n"
        "from services.controller.app import create_app\n"
        "from shared.settings import ControllerSettings, load\n"
        "create_app(load(ControllerSettings), 'http://127.0.0.1:1')\n"
        "print(*sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "services.controller.app" in loaded
    # Redis's client looks for the metrics of it by itself.
    packages = (
        "opentelemetry.sdk.trace",
        "opentelemetry.instrumentation",
        "opentelemetry.exporter",
    )
    assert not [name for name in loaded if name.startswith(packages)]
