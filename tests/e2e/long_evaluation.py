"""An evaluation as a research group runs it, on real models: `make test-long`.

A panel of judges, one of them an endpoint with a price, and a report to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.e2e.zoo import LLMZOO, Zoo
from tests.fakes.brief_judge import BriefJudge
from tests.fakes.browser import CHROMIUM, FLAGS
from tests.fakes.endpoints_file import write_endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(240)]

QUESTIONS = [
    "What is the capital of France?",
    "Name a colour of the rainbow.",
    "What do bees make?",
    "How many days has a week?",
    "Where do penguins live?",
    "What is ice made of?",
]
SPEC = f"""
name: terse or not
questions: {orjson.dumps([{"text": text, "category": "knowledge"} for text in QUESTIONS]).decode()}
dimensions: [general]
mode: pairwise
swap: both
judge:
  - {{model: hosted/brief}}
  - {{model: demo, sampling: {{max_tokens: 24}}}}
metrics: [distinct_n]
run:
  candidates:
    - {{name: plain, model: demo}}
    - {{name: terse, model: demo, system: "Answer in one word.", sampling: {{max_tokens: 6}}}}
  sampling: {{temperature: 0, max_tokens: 32}}
"""


@pytest.fixture(scope="module")
def judge() -> Iterator[BriefJudge]:
    with BriefJudge() as running:
        yield running


@pytest.fixture(scope="module")
def judged(
    demo_model: str, judge: BriefJudge, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Zoo]:
    """A zoo with a judge of another house, at a price."""
    folder = tmp_path_factory.mktemp("judged")
    prices = {"input": 2.0, "output": 8.0}
    hosted = {"name": "hosted", "base_url": judge.url, "models": ["brief"], "prices": prices}
    environment = {
        "LLMZOO_ENDPOINTS_FILE": str(write_endpoints(folder, hosted)),
        "LLMZOO_ENDPOINT_NETWORKS": "127.0.0.0/8",
    }
    services = ("--only", "controller,worker,evaluator")
    with Zoo(folder, "--model", demo_model, *services, **environment) as zoo:
        zoo.wait_until_ready()
        yield zoo


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed")
def test_two_candidates_two_judges_and_a_report(
    judged: Zoo, judge: BriefJudge, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    out = tmp_path / "report"

    refused = judged.run(LLMZOO, "eval", "run", str(spec))
    assert refused.returncode != 0, refused.stdout  # it costs money, and nobody can be asked
    assert not judge.asked

    ran = judged.run(LLMZOO, "eval", "run", str(spec), "--yes", "--out", str(out))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = orjson.loads((out / "results.json").read_bytes())["results"]
    reviews = {scope["judge"]: scope for scope in results["scopes"] if scope["judge"]}
    assert reviews["hosted/brief"]["reviews"] == 12
    assert reviews["hosted/brief"]["undecoded"] == 0
    best = reviews["hosted/brief"]["candidates"][0]
    assert (best["candidate"], best["wins"]) == ("terse", 12)
    assert reviews["demo"]["reviews"] == 12
    assert len(judge.asked) == 12
    assert results["usage"]["judge"]["cost_usd"] > 0

    calls = len(judge.asked)
    again = judged.run(LLMZOO, "eval", "run", str(spec), "--yes")
    assert again.returncode == 0, again.stderr
    assert len(judge.asked) == calls

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((out / "report.html").as_uri())
        expect(page.get_by_role("heading", name="terse or not")).to_be_visible()
        expect(page.get_by_text(QUESTIONS[0]).first).to_be_visible()
        page.screenshot(path=tmp_path / "report.png", full_page=True)
        browser.close()
