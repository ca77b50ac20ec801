"""The dashboards' files: what Grafana needs of them, and what a reader does."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
import yaml

from deploy.grafana.__main__ import FOLDER, texts
from tests.fakes.command_line import PROJECT
from tests.fakes.panels import boards, panels

GRAFANA = PROJECT / "deploy/grafana"
BOARDS = boards()
each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def test_the_files_are_what_the_program_writes():
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == texts(), "make dashboards"


def test_the_four_of_them_have_names_of_their_own():
    assert set(BOARDS) == {"overview", "models", "workers", "evaluator"}
    assert {board["uid"] for board in BOARDS.values()} == {f"llmzoo-{name}" for name in BOARDS}
    assert len({board["title"] for board in BOARDS.values()}) == 4


@each_board
def test_panels_stand_beside_each_other(board):
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = [panel["gridPos"] for panel in board["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        assert place["h"] > 0
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    # No holes: each line of the grid but headings is filled.
    for y in {place["y"] for place in places}:
        line = [p["w"] for p in places if p["y"] == y]
        assert sum(line) == 24, y


@each_board
def test_panels_say_what_they_show(board):
    titles = [(panel["title"], panel["type"]) for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends), panel["title"]


@each_board
def test_every_datasource_is_the_one_provisioned(board):
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    named = {"type": source["type"], "uid": source["uid"]}
    for panel in panels(board):
        assert panel["datasource"] == named
        assert all(target["datasource"] == named for target in panel["targets"])
    for each in (*board["templating"]["list"], *board["annotations"]["list"]):
        assert each["datasource"] == named


@each_board
def test_variables_that_are_used_are_there(board):
    there = {variable["name"] for variable in board["templating"]["list"]}
    text = str(board["panels"])
    assert set(re.findall(r"\$([a-z]+)", text)) == there


@each_board
def test_links_lead_to_the_other_boards(board):
    (link,) = board["links"]
    assert all(set(link["tags"]) <= set(other["tags"]) for other in BOARDS.values())


@each_board
def test_units_are_said(board):
    for panel in panels(board):
        if panel["type"] in {"timeseries", "stat"}:
            unit = panel["fieldConfig"]["defaults"]["unit"]
            exprs = " ".join(target["expr"] for target in panel["targets"])
            shares = re.fullmatch(r".*_ratio\b.*", exprs) or "clamp_min" in exprs
            if re.search(r"histogram_quantile|age_seconds|staleness_seconds", exprs):
                assert unit == "s", panel["title"]
            elif "_bytes" in exprs and "kind=" not in exprs:
                assert unit == "bytes", panel["title"]
            elif shares and "_sum{" not in exprs:
                assert unit == "percentunit", panel["title"]


@each_board
def test_no_mean_is_one_of_sums_over_processes(board):
    """A quantile is taken of summed rates of buckets; a mean is a sum over a sum of counts."""
    for panel in panels(board):
        for target in panel["targets"]:
            expr = target["expr"]
            assert "avg" not in expr
            for inner in re.findall(r"histogram_quantile\([\d.]+, (.*)", expr):
                assert re.match(r"sum by \(le[,)]", inner), expr
            for window in re.findall(r"\[([^\]]+)\]", expr):
                assert window in {"$__rate_interval", "$__range", "5m"}, expr


def test_grafana_reads_the_folder_and_lets_nobody_change_it():
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/llmzoo.yaml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert not provider["allowUiUpdates"]


def test_grafana_knows_how_often_prometheus_scrapes():
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    config = yaml.safe_load((PROJECT / "deploy/prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
