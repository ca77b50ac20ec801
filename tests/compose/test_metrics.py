"""Prometheus scrapes everything, and every panel has something to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.compose.conftest import QUESTION
from tests.fakes.panels import PanelQuery, panel_queries
from tests.fakes.waiting import block_until

if TYPE_CHECKING:
    import httpx

    from tests.compose.stack import Stack

WINDOW = "5m"
# Prometheus is not published: who asks it must be inside.
ASK = """
import json, sys
from urllib.parse import quote
from urllib.request import urlopen
for path in json.load(sys.stdin):
    print(urlopen("http://prometheus:9090/api/v1/" + quote(path, safe="/?=")).read().decode())
"""


def prometheus(stack: Stack, *paths: str) -> list[Any]:
    """Return what Prometheus' API tells at each path."""
    given = orjson.dumps(paths).decode()
    told = stack.executed("controller", "python", "-c", ASK, given=given)
    return [orjson.loads(line)["data"] for line in told.splitlines()]


def test_all_targets_are_up(stack: Stack) -> None:
    def up() -> bool:
        targets = prometheus(stack, "targets")[0]["activeTargets"]
        known = {target["labels"].get("service", target["labels"]["job"]) for target in targets}
        wanted = {"controller", "worker", "webui", "evaluator", "prometheus"}
        return wanted <= known and {target["health"] for target in targets} == {"up"}

    block_until(up, 60)


def test_all_rules_are_healthy_and_nothing_is_alarming(stack: Stack) -> None:
    groups = prometheus(stack, "rules")[0]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 20
    block_until(lambda: _evaluated(stack), 60)
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


@pytest.mark.usefixtures("evaluated")
def test_every_panel_has_data_after_a_chat_and_an_evaluation(
    stack: Stack, client: httpx.Client
) -> None:
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200
    queries = [query for query in panel_queries(WINDOW) if not query.needs_gpu]
    assert len(queries) > 40
    empty: list[PanelQuery] = queries

    def filled() -> bool:
        nonlocal empty
        told = prometheus(stack, *(f"query?query={query.expr}" for query in empty))
        empty = [query for query, data in zip(empty, told, strict=True) if not _finite(data)]
        return not empty

    try:
        block_until(filled, 90)
    except TimeoutError:
        pytest.fail("no data for\n" + "\n".join(map(str, empty)))


def _evaluated(stack: Stack) -> bool:
    groups = prometheus(stack, "rules")[0]["groups"]
    return all(rule["health"] == "ok" for group in groups for rule in group["rules"])


def _finite(data: dict[str, Any]) -> bool:
    if data["resultType"] == "scalar":
        return True
    return any(sample["value"][1] not in {"NaN", "+Inf", "-Inf"} for sample in data["result"])
