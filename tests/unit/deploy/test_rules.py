"""The rules of Prometheus: tested by its own tool, and told of to people."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

from deploy.grafana.promql import OBJECTIVE_SECONDS
from tests.fakes.command_line import PROJECT
from tests.fakes.prometheus_rules import CASES, PROMETHEUS, RULES, alert_cases, alerts, rules

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


def promtool(*arguments: object) -> None:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_each_case_comes_out_as_it_is_written():
    promtool("test", "rules", *CASES)


@needs_promtool
def test_the_files_are_what_prometheus_reads():
    promtool("check", "rules", *RULES)
    promtool("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not():
    cases = set(alert_cases())
    assert cases == {(alert, fires) for alert in alerts() for fires in (True, False)}


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_what_to_do(alert):
    rule = alerts()[alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    document, anchor = notes["runbook"].split("#")
    section = chapter((PROJECT / document).read_text(), anchor)
    assert f"| `{alert}` |" in section


def test_the_runbook_tells_of_no_alert_that_there_is_not():
    section = chapter((PROJECT / "deploy/README.md").read_text(), "alerts")
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(alerts())


def test_the_objective_is_the_same_number_in_both_rules_and_on_the_dashboards():
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    objective = recorded["llmzoo:time_to_first_token_seconds:slo"]
    within = recorded["model:llmzoo_time_to_first_token_seconds:within_slo_ratio_5m"]
    assert re.findall(r'le="([\d.]+)"', within) == re.findall(r"vector\(([\d.]+)\)", objective)
    assert objective == f"vector({OBJECTIVE_SECONDS})"


def test_nothing_is_scraped_twice():
    """What registers comes by discovery; only who does not is named."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = {job.pop("job_name"): job for job in config["scrape_configs"]}
    fleet = jobs.pop("llmzoo")
    assert set(fleet) == {"authorization", "http_sd_configs"}
    named = [
        target
        for job in jobs.values()
        for static in job["static_configs"]
        for target in static["targets"]
    ]
    assert named == ["localhost:9090"]


def chapter(text: str, anchor: str) -> str:
    """Return the section of a document that a link leads to."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)[1:]
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    return next(t for title, t in found.items() if title.lower().replace(" ", "-") == anchor)
