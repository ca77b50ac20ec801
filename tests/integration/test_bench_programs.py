"""The programs of `tests/bench` against a server that does what they are to find."""

from __future__ import annotations

import pytest

from tests.bench import priority, second_turn
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
