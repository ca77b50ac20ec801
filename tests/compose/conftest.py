"""One stack for all tests here: built, brought up once, and taken down at the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.compose.figures import FIGURES, note
from tests.compose.stack import Stack
from tests.fakes.waiting import block_until

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTION = {
    "model": "demo",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_tokens": 16,
    "temperature": 0,
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    terminalreporter.section("figures")
    for name, value in FIGURES.items():
        terminalreporter.line(f"{name}: {value}")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Return the stack, brought up on built images and empty volumes, once it has answered."""
    stack = Stack()
    began = time.monotonic()
    stack.build()
    note("images built in", time.monotonic() - began)
    stack.down()
    try:
        began = time.monotonic()
        stack.up()
        block_until(lambda: _answers(stack), seconds=120)
        note("from `up` to the first answer", stack_seconds := time.monotonic() - began)
        stack.first_answer_seconds = stack_seconds
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[httpx.Client]:
    """Return a client of the controller with the key that the stack shows."""
    headers = {"authorization": f"Bearer {stack.key()}"}
    with httpx.Client(base_url=stack.api, headers=headers, timeout=120, trust_env=False) as client:
        yield client


def _answers(stack: Stack) -> bool:
    headers = {"authorization": f"Bearer {stack.key()}"}
    url = f"{stack.api}/v1/chat/completions"
    told = httpx.post(url, json=QUESTION, headers=headers, timeout=60, trust_env=False)
    assert told.status_code in {200, 503}, told.text
    return told.status_code == 200


@pytest.fixture(scope="session")
def evaluated(client: httpx.Client) -> str:
    """Return the path of an evaluation run that is over: the demo model, judged by itself."""
    spec = {
        "name": "tiny",
        "questions": [{"text": "What is the capital of France?"}, {"text": "Name a colour."}],
        "dimensions": ["general"],
        "mode": "scoring",
        "judge": {"model": "demo", "sampling": {"max_tokens": 32}},
    }
    created = client.post("/v1/evals", json=spec)
    assert created.status_code == 201, created.text
    runs = f"/v1/evals/{created.json()['id']}/runs"
    accepted = client.post(runs, json={"candidates": [{"model": "demo"}], "max_tokens": 30})
    assert accepted.status_code == 202, accepted.text
    run = accepted.headers["location"]
    block_until(lambda: client.get(run).json()["status"] not in {"queued", "running"}, 120)
    return run
