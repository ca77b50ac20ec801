"""The shipped rules of Prometheus, and the cases that they are tested with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.command_line import PROJECT

PROMETHEUS = PROJECT / "deploy/prometheus"
RULES = sorted(PROMETHEUS.glob("rules/*.yml"))
CASES = sorted(PROMETHEUS.glob("tests/*.yml"))


def rules() -> list[dict[str, Any]]:
    """Return all rules."""
    return [rule for path in RULES for group in _read(path)["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by their names."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> dict[str, str]:
    """Return the expressions of what is recorded, by its names."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def alert_cases() -> Iterator[tuple[str, bool]]:
    """Yield which alert is looked at, and whether it is to fire, in each case there is."""
    for path in CASES:
        for test in _read(path)["tests"]:
            for case in test.get("alert_rule_test", []):
                yield case["alertname"], bool(case.get("exp_alerts"))


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())
