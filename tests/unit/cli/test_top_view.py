"""What `llmzoo top` shows."""

from __future__ import annotations

from services.cli.top.view import HEAD, rows, totals
from tests.fakes.fleet import routing, service

LOAD = {"running": 2, "waiting": 1, "max_num_seqs": 16, "tokens_per_second": 101.6}


def stats(*services, reachable=True, **queue):
    return {
        "services": list(services),
        "queue": {"interactive": 0, "batch": 0, **queue},
        "registry": {"reachable": reachable},
    }


def row(**fields):
    [cells] = rows(stats(service(**fields)))
    return dict(zip(HEAD, cells, strict=True))


def test_a_worker_tells_its_load_and_what_routing_knows():
    told = row(load=LOAD, routing=routing(speed=0.5, breaker="open", prefix_hit_ratio=0.876))
    assert told == {
        "WORKER": "worker-host-8010",
        "STATE": "ready",
        "MODELS": "demo",
        "RUNNING": "2/16",
        "WAITING": "1",
        "SENT": "1",
        "TOK/S": "102",
        "KV": "25 %",
        "PREFIX": "88 %",
        "SPEED": "0.5",
        "BREAKER": "open",
    }


def test_a_loading_worker_and_one_of_an_older_controller_leave_gaps():
    told = row(load=None, routing=None, models=[], state="loading", progress=0.43)
    assert told["STATE"] == "loading 43 %"
    assert {told[name] for name in HEAD[2:] if name != "SENT"} == {"-"}


def test_only_workers_have_rows():
    assert list(rows(stats(service(kind="controller")))) == []


def test_totals_are_over_all_workers():
    line = totals(
        stats(service(load=LOAD), service(load=LOAD, stale=True), interactive=7, reachable=False)
    )
    assert line.startswith("1 of 2 workers ready · 2 sent · 4 running · 7 interactive, 0 batch")
    assert "203 tokens/s" in line
    assert "Redis cannot be reached" in line
