"""A service's entry in Prometheus' HTTP service discovery."""

from __future__ import annotations

import pytest

from services.controller.fleet.member import Member
from services.controller.routes.stats import scrape_target
from shared.protocol.workers import ServiceRecord


def target(address, kind="worker"):
    record = ServiceRecord(id=f"{kind}-1", kind=kind, address=address, incarnation="a")
    return scrape_target(Member(record, 0.0))


def test_a_plain_address_needs_no_labels_of_prometheus():
    assert target("http://10.0.0.7:8010") == {
        "targets": ["10.0.0.7:8010"],
        "labels": {"service": "worker", "worker": "worker-1"},
    }
    assert target("http://10.0.0.7:8000/", "controller")["labels"] == {"service": "controller"}


@pytest.mark.parametrize(
    ("address", "authority", "labels"),
    [
        ("https://10.0.0.7", "10.0.0.7", {"__scheme__": "https"}),
        ("http://[fd00::7]:80/zoo/", "[fd00::7]:80", {"__metrics_path__": "/zoo/metrics"}),
        (
            "https://worker:8443/a/b",
            "worker:8443",
            {"__scheme__": "https", "__metrics_path__": "/a/b/metrics"},
        ),
    ],
)
def test_scheme_and_path_are_told_where_they_are_not_the_usual(address, authority, labels):
    told = target(address)
    assert told["targets"] == [authority]
    assert {n: v for n, v in told["labels"].items() if n.startswith("__")} == labels
