"""Dashboards and rules read what our services register, and no other metric or label."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.command_line import PROJECT
from tests.fakes.panels import other_queries, panel_queries
from tests.fakes.prometheus_rules import recorded, rules
from tests.fakes.registered_metrics import registered
from tests.fakes.selections import selections

OF_PROMETHEUS = {
    "up": frozenset(),
    "prometheus_sd_http_failures_total": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
}
OF_TARGETS = frozenset({"job", "instance", "service"})
"""Labels that discovery gives to every target of ours; to workers also their name."""

EXPRESSIONS = [
    *(pytest.param(query.expr, id=str(query)) for query in (*panel_queries(), *other_queries())),
    *(pytest.param(rule["expr"], id=rule.get("alert") or rule["record"]) for rule in rules()),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The labels of each sample by its name, for each service."""
    return registered(tmp_path_factory.mktemp("registered"))


@pytest.fixture(scope="module")
def known(found):
    """The same with the labels that discovery adds; and what Prometheus and its rules make."""
    services = {
        service: {name: labels | OF_TARGETS for name, labels in metrics.items()}
        for service, metrics in found.items()
    }
    # A worker's own metrics may be chosen by its name as well.
    services["worker"] = {n: labels | {"worker"} for n, labels in services["worker"].items()}
    others = {name: labels | OF_TARGETS | {"worker"} for name, labels in OF_PROMETHEUS.items()}
    return services, others | {name: kept(expr) for name, expr in recorded().items()}


def kept(expr: str) -> frozenset[str]:
    """Return the labels of what is recorded: those that its sums are by."""
    named = ",".join(re.findall(r"by \(([^)]*)\)", expr)).replace(" ", "")
    return frozenset(named.split(",")) - {"le"}


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_every_metric_and_label_is_one_that_there_is(expr, known):
    services, others = known
    read = list(selections(expr))
    assert read or expr == "vector(2.5)"
    for each in read:
        asked = [others] if each.name in others else list(services.values())
        if each.service and each.name not in others:
            asked = [services[each.service]]
        having = [metrics[each.name] for metrics in asked if each.name in metrics]
        assert having, f"nobody registers {each.name} ({each.service or 'any service'})"
        assert any(each.labels <= labels for labels in having), (each.labels, having)


def test_what_several_services_register_is_read_from_one_of_them(known):
    """The controller, the workers and the web UI each count a request's tokens."""
    services, _ = known
    for query in panel_queries():
        for each in selections(query.expr):
            owners = [name for name, metrics in services.items() if each.name in metrics]
            own = each.name.startswith("llmzoo_") and "heartbeat" not in each.name
            assert each.service or not own or len(owners) == 1, query


def test_the_recorded_gpus_are_what_a_worker_tells(found):
    text = (PROJECT / "tests/data/gpu_worker.prom").read_text()
    recorded_labels = {
        sample.name: frozenset(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    gpu = {name: labels for name, labels in found["worker"].items() if "gpu_" in name}
    assert recorded_labels == gpu
