"""The tables of `llmzoo models` and `llmzoo workers`."""

from __future__ import annotations

from services.cli.table import columns
from services.cli.workers import fleet_rows, state_text
from tests.fakes.fleet import service


def rows(*services, refused=()):
    return list(fleet_rows({"services": list(services), "refused": list(refused)}))


def test_columns_are_as_wide_as_their_longest_cell():
    assert list(columns(("A", "B"), [["long", ""], ["x", "y"]])) == ["A     B", "long", "x     y"]


def test_a_worker_tells_its_load():
    [row] = rows(service())
    address = "http://127.0.0.1:8010"
    assert row == [
        *("worker-host-8010", "ready", address, "demo", "2", "1"),
        "-",
        "1",
        "closed",
        "",
    ]


def test_a_loading_worker_tells_how_far_it_is():
    [row] = rows(service(state="downloading", progress=0.43, load=None, models=[]))
    assert row[1] == "downloading 43 %"
    assert row[3:7] == ["-"] * 4


def test_a_silent_service_is_lost():
    assert rows(service(stale=True))[0][1] == "lost"


def test_a_refused_service_tells_why():
    refused = {"id": "worker-x", "reason": "its address lies outside the allowed networks"}
    row = rows(refused=[refused])[0]
    assert row[:2] == ["worker-x", "refused"]
    assert row[-1] == refused["reason"]


def test_a_state_without_progress_stands_alone():
    assert state_text("ready", None) == "ready"
    assert state_text("loading", 0.0) == "loading 0 %"
