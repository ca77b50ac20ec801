"""The programs of `tests/bench` against a server that does what they are to find."""

from __future__ import annotations

import socket
import sys

import pytest

from tests.bench import overhead, priority, second_turn, start
from tests.bench.peers import Peer
from tests.fakes.controller_app import ServedApp
from tests.fakes.openai_server import PIECES, PROMPT_TOKENS, Manners, OpenAIServer

PACE = 0.01


@pytest.fixture
def server():
    return OpenAIServer()


@pytest.fixture
def url(server):
    with ServedApp(server.app) as served:
        yield served.url


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_what_interactive_requests_wait_for_beside_batch_ones(url, server):
    server.manners = Manners(pace=PACE)
    small = ("--base-url", url, "--streams", "5", "--requests", "3", "--rounds", "2")
    rounds = await priority.run(priority.parse([*small, "--model", "m"]))
    assert len(rounds) == 2
    for found in rounds:
        assert found.streaming == 5
        assert found.step >= 1000 * PACE * 0.9  # of the loop's clock
        assert found.busy_p95 >= 2 * 1000 * PACE * 0.9
        assert found.steps == (found.busy_p95 - found.idle_p50) / found.step
    marked = ["x-llmzoo-priority" in headers for _, _, headers in server.requests]
    one_round = [*[False] * 4, *[True] * 5, *[False] * 3]
    assert marked == one_round * 2
    assert len({prompt.split()[0] for prompt in server.prompts}) == len(server.prompts)


async def test_a_refused_request_is_no_measurement(url, server):
    server.manners = Manners(pace=PACE, rejected=(6,))
    small = ("--base-url", url, "--streams", "3", "--requests", "2", "--rounds", "1")
    with pytest.raises(SystemExit, match="All places are taken"):
        await priority.run(priority.parse([*small]))


async def test_the_second_turn_brings_the_first_one_back(url, server):
    small = ("--base-url", url, "--tokens", "100", "--rounds", "2")
    rounds = await second_turn.run(second_turn.parse([*small]))
    assert len(rounds) == 2
    assert all(found.ratio > 0 for found in rounds)
    talks = [body["messages"] for _, body, _ in server.requests]
    assert len(talks) == 3 * 3
    for first, second, unknown in (talks[i : i + 3] for i in range(0, 9, 3)):
        assert second[: len(first)] == first
        assert second[1] == {"role": "assistant", "content": " x" * PIECES}
        assert len(second) == len(unknown) == 3
        assert second[0]["content"].split()[0] != unknown[0]["content"].split()[0]
        lengths = {len(talk[0]["content"].split()) for talk in (first, second, unknown)}
        assert lengths == {99}
    assert str(PROMPT_TOKENS) in "\n".join(second_turn.lines(rounds))


# Refuses once, then streams one token; SIGINT leaves a file behind.
SLOW_STARTER = """
import http.server, pathlib, sys

class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_POST(self):
        Handler.asked += 1
        self.send_response(200 if Handler.asked > 1 else 503)
        self.end_headers()
        if Handler.asked > 1:
            self.wfile.write(b'data: {"choices": [{"text": " x", "finish_reason": "length"}]}\\n\\n')

server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
try:
    server.serve_forever()
except KeyboardInterrupt:
    with pathlib.Path(sys.argv[2]).open("a") as file:
        file.write(f"asked {Handler.asked}\\n")
"""


def starting(port: int, *options: str):
    return start.parse(["--base-url", f"http://127.0.0.1:{port}", "--runs", "2", *options])


async def test_a_start_lasts_until_the_first_token_and_is_ended_by_sigint(free_port, tmp_path):
    ended = tmp_path / "ended"
    command = [sys.executable, "-c", SLOW_STARTER, str(free_port), str(ended)]
    seconds = await start.measure(starting(free_port), command)
    assert len(seconds) == 2
    assert all(0 < found < 60 for found in seconds)
    assert ended.read_text() == "asked 2\n" * 2


async def test_a_command_that_ends_is_no_start(free_port):
    with pytest.raises(SystemExit, match="ended with 3"):
        await start.measure(starting(free_port), [sys.executable, "-c", "raise SystemExit(3)"])


async def test_a_server_that_is_there_already_cannot_be_started(url):
    with pytest.raises(SystemExit, match="already"):
        await start.measure(start.parse(["--base-url", url]), ["true"])


@pytest.mark.torch
def test_a_zoo_over_its_engine(url, tmp_path, monkeypatch):
    from tests.fakes.model_files import save_folder, tiny_llama  # noqa: PLC0415 - brings torch

    monkeypatch.setenv("LLMZOO_THREADS", "1")
    monkeypatch.setenv("LLMZOO_CACHE_DIR", str(tmp_path / "cache"))
    folder = save_folder(tiny_llama(), tmp_path / "tiny")
    bench = overhead.Bench(Peer("zoo", url, str(folder)), 2, 1, 5, 6)
    assert bench.of_zoo()[1] == PROMPT_TOKENS
    (found,) = overhead.run(bench, 1)
    assert found.ratio == found.zoo / found.engine > 0
