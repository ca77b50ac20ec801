"""Real workers are killed and stopped in the middle of long answers; nobody notices.

The workers are deterministic, so what the client gets is compared with the same requests
undisturbed, byte for byte of their texts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from shared.protocol.event_id import EventId
from tests.e2e.zoo import Zoo, get, get_json
from tests.fakes.browser import CHROMIUM, FLAGS
from tests.fakes.event_log import DONE, EventLog
from tests.fakes.scrape import sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(240)]

TOKENS = 48
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def asks(question: str, **more: Any) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": question}]
    return CHAT, {"messages": messages, "max_tokens": TOKENS, "ignore_eos": True, **more}


# Chat and plain, streamed and whole, greedy and seeded, and all that a continuation must carry.
REQUESTS = [
    asks("Tell me of the sea.", temperature=0, **STREAM),
    asks("Name some rivers.", seed=5, temperature=0.9, n=2, **STREAM),
    asks("Why is the sky blue?", seed=6, logprobs=True, top_logprobs=2, **STREAM),
    asks("Count to twenty.", temperature=0, stop=[" 17", "seventeen"], **STREAM),
    asks("Write of rain.", seed=7, presence_penalty=0.8, frequency_penalty=0.4, **STREAM),
    asks("Who was Ada Lovelace?", seed=8, n=2, logprobs=True),
    (
        COMPLETION,
        {"prompt": "Once upon a time", "max_tokens": TOKENS, "seed": 9, "logprobs": 1, **STREAM},
    ),
    (COMPLETION, {"prompt": ["One, two,", "A, B,"], "max_tokens": TOKENS, "temperature": 0}),
]


@contextlib.contextmanager
def deterministic_zoo(model: str, folder: Path, count: int) -> Iterator[Zoo]:
    """Run a zoo of so many deterministic workers."""
    environment = {
        "LLMZOO_DETERMINISTIC": "true",
        # All sequences of all requests at once: none waits for a place until others are done.
        "LLMZOO_MAX_NUM_SEQS": "16",
        "LLMZOO_THREADS": "1",
        "LLMZOO_UPSTREAM_TIMEOUT": "2",
    }
    options = ("--model", model, "--workers", str(count), "--only", "controller,worker,webui")
    with Zoo(folder, *options, **environment) as zoo:
        zoo.wait_until_ready()
        yield zoo


@pytest.fixture(scope="module")
def pair(demo_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    with deterministic_zoo(demo_model, tmp_path_factory.mktemp("pair"), 2) as zoo:
        yield zoo


def workers(zoo: Zoo) -> dict[str, int]:
    """Return the processes of the workers that are ready, by id."""
    listed: Any = get_json(f"{zoo.api}/admin/workers")["data"]
    found: dict[str, int] = {}
    for entry in listed:
        if entry["state"] == "ready":
            # One that was just killed may still be listed.
            with contextlib.suppress(OSError):
                found[entry["id"]] = int(get_json(f"{entry['address']}/health/ready")["pid"])
    return found


def busiest(zoo: Zoo) -> str:
    """Return the worker that gives the most answers now."""
    listed: Any = get_json(f"{zoo.api}/admin/requests")["data"]
    homes = [entry["worker"] for entry in listed]
    return max(set(homes), key=homes.count)


def moved(zoo: Zoo) -> float:
    """Return how many answers have gone on elsewhere."""
    return sample(get(f"{zoo.api}/metrics")[1].decode(), "llmzoo_migrations_total")


class Client:
    """Asks all of `REQUESTS` at once."""

    def __init__(self, zoo: Zoo) -> None:
        self._http = httpx.AsyncClient(base_url=zoo.api, timeout=120, trust_env=False)
        self.logs = [EventLog() for _ in REQUESTS]

    async def ask_all(self) -> list[Any]:
        """Return what was told, in a form that can be compared."""
        async with self._http:
            return await asyncio.gather(*map(self._ask, REQUESTS, self.logs))

    def under_way(self, events: int) -> bool:
        """Return whether each stream has so many events."""
        streamed = [body.get("stream") for _, body in REQUESTS]
        return all(
            len(log.events) >= events
            for log, stream in zip(self.logs, streamed, strict=True)
            if stream
        )

    async def _ask(self, request: tuple[str, dict[str, Any]], log: EventLog) -> Any:
        path, body = request
        body = {"model": "demo", **body}
        async with self._http.stream("POST", path, json=body) as response:
            if not body.get("stream"):
                told = orjson.loads(await response.aread())
                assert response.status_code == 200, told
                return told["choices"], told["usage"]
            async for piece in response.aiter_raw():
                log.feed(piece, 0.0)
        return _told(log)


def _told(log: EventLog) -> Any:
    """Return texts, logprobs and reasons by choice, and usage; ids rise without a gap."""
    *events, last = log.events
    assert last.data == DONE, last
    ids = [EventId.parse(event.id) for event in events if event.id]
    numbers = [each.number for each in ids]
    assert numbers == sorted(set(numbers))
    assert len({each.answer for each in ids}) == 1
    usage = None
    choices: dict[int, list[Any]] = {}
    for chunk in (orjson.loads(event.data) for event in events):
        usage = chunk["usage"] or usage
        for choice in chunk["choices"]:
            told = choices.setdefault(choice["index"], ["", [], None])
            told[0] += choice["text"] if "text" in choice else choice["delta"].get("content", "")
            told[1].append(choice["logprobs"])
            told[2] = choice["finish_reason"] or told[2]
    for told in choices.values():
        told[1] = [entry for entry in told[1] if entry is not None]
    return choices, usage


async def disturbed(zoo: Zoo, disturb: Any) -> list[Any]:
    """Ask for everything, let `disturb` do its part in the middle, and return what was told."""
    client = Client(zoo)
    asking = asyncio.create_task(client.ask_all())
    while not client.under_way(8):
        assert not asking.done(), await asking
        await asyncio.sleep(0.01)
    await disturb()
    return await asking


def flat(told: list[Any]) -> list[Any]:
    """Return it with streamed logprobs joined, since how they come in chunks is timing."""
    return [(_joined(choices), usage) for choices, usage in told]


def _joined(choices: Any) -> Any:
    """Return the choices of one answer; those of a whole one as they are."""
    if isinstance(choices, list):
        return choices
    return {index: _joined_choice(choice) for index, choice in choices.items()}


def _joined_choice(choice: list[Any]) -> list[Any]:
    text, logprobs, reason = choice
    if logprobs and "content" in logprobs[0]:
        logprobs = [each for part in logprobs for each in part["content"]]
    elif logprobs:
        logprobs = [each for part in logprobs for each in part["tokens"]]
    return [text, logprobs, reason]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_worker_is_lost_under_eight_answers(pair: Zoo, number: signal.Signals) -> None:
    pair.wait_for(lambda: len(workers(pair)) == 2, 90)
    undisturbed = asyncio.run(Client(pair).ask_all())
    before = moved(pair)
    processes = workers(pair)  # asked beforehand: answers end while it is found out
    lost: list[int] = []

    async def lose() -> None:
        lost.append(processes[busiest(pair)])
        os.kill(lost[0], number)

    told = asyncio.run(disturbed(pair, lose))
    if number == signal.SIGSTOP:
        os.kill(lost[0], signal.SIGKILL)

    assert flat(told) == flat(undisturbed)
    assert moved(pair) - before >= 2


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed")
def test_a_worker_is_killed_in_the_middle_of_a_long_answer_in_the_browser(
    pair: Zoo, tmp_path: Path
) -> None:
    pair.wait_for(lambda: len(workers(pair)) == 2, 90)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        undisturbed = _ask(browser.new_page(), pair)
        whole = _finished(undisturbed)
        notice = undisturbed.locator("#notice").inner_text()
        before = moved(pair)

        page = _ask(browser.new_page(), pair)
        begun = len(whole) // 4
        answer = page.get_by_test_id("bot").last
        expect(answer).to_contain_text(whole[:begun].split("\n")[0], timeout=60_000)
        os.kill(workers(pair)[busiest(pair)], signal.SIGKILL)

        assert _finished(page) == whole
        page.screenshot(path=str(tmp_path / "killed.png"))
        assert page.locator("#notice").inner_text() == notice
        browser.close()
    assert moved(pair) - before == 1


def _ask(page: Page, zoo: Zoo) -> Page:
    page.goto(zoo.webui)
    page.get_by_role("button", name="Settings").click()
    for label, value in (("Temperature", "0"), ("Max tokens", "160")):
        field = page.get_by_label(f"number input for {label}")
        field.fill(value)
        field.press("Tab")
    box = page.get_by_role("textbox", name="Message")
    box.fill("Write a long story about a lighthouse keeper and the sea.")
    box.press("Enter")
    return page


def _finished(page: Page) -> str:
    """Wait for the end of the answer and return its text."""
    expect(page.get_by_test_id("bot").last).to_be_visible(timeout=60_000)
    expect(page.locator("#regenerate")).to_be_enabled(timeout=120_000)
    return page.get_by_test_id("bot").last.inner_text()
