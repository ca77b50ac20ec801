"""Reports for programs and papers: nothing is lost, and nothing in them comes alive."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.reports.markdown import escape
from services.evaluator.reports.rendering import render
from shared.protocol.evals.item import ItemStatus, OutputItem
from shared.protocol.evals.results import AnswerMetrics, Figure, Interval, Results, ResultWarning
from shared.protocol.evals.run import RunStatus
from tests.fakes.report_data import CANDIDATES, report_of, run_items

HOSTILE = '=HYPERLINK("http://x.test","a") | <b>@team</b> #1 [a](http://x.test) `c` \u2028 "q"'
FORMULAS = ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", " =1", "\uff1d1", "\ufeff=1", "\n=1"]


@pytest.fixture(scope="module")
def report():
    return report_of(run_items())


def hostile_report():
    items = run_items(2)
    first = items[0]
    answers = [first.answers[0].model_copy(update={"turns": [HOSTILE]}), *first.answers[1:]]
    items[0] = first.model_copy(
        update={"answers": answers, "judge_text": HOSTILE, "model_version": HOSTILE}
    )
    return report_of(items)


def rows_of(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode(), newline="")))


def test_the_same_run_gives_the_same_bytes(report):
    for form in ("html", "md", "json", "csv", "jsonl"):
        assert render(form, report) == render(form, report)


def test_lines_hold_every_item_whole(report):
    lines = render("jsonl", report).decode().splitlines()
    assert [OutputItem.model_validate_json(line) for line in lines] == report.items


def test_a_line_ends_where_an_item_does():
    report = hostile_report()
    text = render("jsonl", report).decode()
    assert len(text.splitlines()) == len(report.items)
    assert json.loads(text.splitlines()[0])["judge_text"] == HOSTILE


def test_json_holds_results_spec_and_run(report):
    told = json.loads(render("json", report))
    assert Results.model_validate(told["results"]) == report.results
    assert told["run"]["id"] == report.run.id
    assert len(told["spec"]["questions"]) == len(report.spec.questions)


def test_figures_have_a_row_for_each_candidate_in_each_scope(report):
    rows = rows_of(render("csv", report))
    expected = [
        (scope.dimension or "", scope.category or "", each.candidate)
        for scope in report.results.scopes
        for each in scope.candidates
    ]
    assert [(row["dimension"], row["category"], row["candidate"]) for row in rows] == expected
    first = report.results.scopes[0].candidates[0]
    assert float(rows[0]["mean_rank"]) == first.mean_rank.value
    assert float(rows[0]["mean_rank_low"]) == first.mean_rank.interval.low
    assert int(rows[0]["mean_rank_n"]) == first.mean_rank.n
    assert rows[0]["mean_score"] == ""


def test_items_have_a_row_each(report):
    rows = rows_of(render("csv", report, "items"))
    assert [row["id"] for row in rows] == [item.id for item in report.items]
    for row, item in zip(rows, report.items, strict=True):
        assert json.loads(row["lineup"]) == item.lineup
        ranks = json.loads(row["ranks"]) if row["ranks"] else None
        assert ranks == (item.verdict.ranks if item.verdict else None)
    [told] = [row for row in rows if row["human"] == "true"]
    assert told["author"] == "Ada Reader"
    assert json.loads(told["best"]) == [CANDIDATES[-1]]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(formula):
    items = run_items(1)
    items[0] = items[0].model_copy(update={"judge_text": formula, "judge": formula})
    names = [formula, *CANDIDATES[1:]]
    items = [each.model_copy(update={"lineup": names}) for each in items]
    report = report_of(items, names)
    for table in ("figures", "items"):
        text = render("csv", report, table).decode()
        cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
        assert "'" + formula in cells
        assert formula not in cells


def test_negative_numbers_stay_numbers(report):
    scope = report.results.scopes[0]
    low = scope.candidates[0].model_copy(update={"mean_length": -3.5})
    scopes = [scope.model_copy(update={"candidates": [low]})]
    results = report.results.model_copy(update={"scopes": scopes})
    changed = type(report)(results, report.spec, report.run, report.items)
    assert rows_of(render("csv", changed))[0]["mean_length"] == "-3.5"


def test_markdown_says_what_counts(report):
    text = render("md", report).decode()
    for part in ("# Trees", "**Warning:**", "## Ranking", "Separable", "## Position", "## Length"):
        assert part in text
    assert "[" in text
    for name in CANDIDATES:
        assert f"| {name} |" in text
    tables = re.split(r"\n\n", text)
    for table in (part for part in tables if part.startswith("|")):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_markdown_says_that_nobody_can_be_told_apart(report):
    [scope, *rest] = report.results.scopes
    one = scope.model_copy(update={"groups": [[each.candidate for each in scope.candidates]]})
    results = report.results.model_copy(update={"scopes": [one, *rest]})
    changed = type(report)(results, report.spec, report.run, report.items)
    assert "No two candidates can be told apart." in render("md", changed).decode()


@given(st.text(alphabet=st.sampled_from("ab |\n\\`<>@#[](){}*_~$&!:/w.-+=1\u2028"), max_size=40))
def test_an_escaped_text_is_one_cell_and_no_html(text):
    escaped = escape(text)
    assert not re.search(r"[\r\n<>@\u2028]", escaped)
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", escaped)
    assert "://" not in escaped
    assert "](" not in re.sub(r"\\.", "x", escaped)


def test_breakdowns_are_as_many_as_a_reader_can_take_in(report):
    [whole, *_] = report.results.scopes
    many = [whole.model_copy(update={"category": f"category {place}"}) for place in range(300)]
    results = report.results.model_copy(update={"scopes": [whole, *many]})
    changed = type(report)(results, report.spec, report.run, report.items)
    assert "264 more are in the CSV report." in render("md", changed).decode()
    assert b"264 more are in the CSV report." in render("html", changed)
    assert len(rows_of(render("csv", changed))) == 301 * len(CANDIDATES)


def test_a_part_is_told_in_a_figure_that_it_has(report):
    """Overall and in categories there are no mean scores where dimensions differ in scale."""
    scopes = [
        each.model_copy(
            update={"candidates": [_scored(of, each.dimension) for of in each.candidates]}
        )
        for each in report.results.scopes
    ]
    note = ResultWarning(code="mixed_scales", text="Scales differ.")
    results = report.results.model_copy(
        update={"mode": "scoring", "scopes": scopes, "warnings": [note]}
    )
    changed = type(report)(results, report.spec, report.run, report.items)
    text = render("md", changed).decode()
    assert "## By dimension: mean score" in text
    assert "## By category: win rate" in text
    page = render("html", changed).decode()
    assert "Mean score with 95 % intervals, each on its own scale" in page
    assert "Win rate with 95 % intervals, one scale for all" in page


def _scored(figures, dimension):
    score = Figure(value=0.5, n=9) if dimension else None
    return figures.model_copy(update={"mean_score": score})


def test_the_composite_is_told_with_what_it_is(report):
    text, page = (render(form, report).decode() for form in ("md", "html"))
    told = "Weighted mean over dimensions of win rates (general, weight 2; relevance, weight 1"
    assert told in text
    assert told in page
    (name, value), *_ = report.results.composite
    assert f"| {name} | {value:.2f} |" in text


def test_the_composite_of_scores_tells_each_scale(report):
    scales = {"general": (0, 10), "relevance": (1, 5)}
    results = report.results.model_copy(update={"mode": "scoring", "scales": scales})
    changed = type(report)(results, report.spec, report.run, report.items)
    told = "(general from 0 to 10, weight 2; relevance from 1 to 5, weight 1; coherence, weight 1)"
    assert told in render("md", changed).decode()
    assert told in render("html", changed).decode()


def with_metrics(report):
    values = {
        "refusal_rate": Figure(value=0.25, interval=Interval(low=0.125, high=0.375), n=12),
        "language_match": Figure(value=0.5, n=10, undecoded=2),
        "tokens_per_second": Figure(value=None, n=0, undecoded=12),
        "unheard_of": Figure(value=0.75, n=12),
    }
    answers = [AnswerMetrics(candidate="=a|b", language="en", answers=12, values=values)]
    results = report.results.model_copy(update={"answers": answers})
    return type(report)(results, report.spec, report.run, report.items)


def test_metrics_of_answers_have_names_and_tell_of_how_many_they_are(report):
    changed = with_metrics(report)
    text, page = (render(form, changed).decode() for form in ("md", "html"))
    assert "| 25.0 % [12.5, 37.5] | 50.0 % of 10 |" in text
    for told in ("Refusal rate (by phrases)", "Language match", "Tokens a second"):
        assert told in text
        assert told in page
    assert "unheard\\_of" in text
    assert '50.0 % <span class="interval"></span> <span class="unit">of 10</span>' in page


def test_metrics_of_answers_have_a_table_of_their_own(report):
    rows = rows_of(render("csv", with_metrics(report), "answers"))
    assert [(row["metric"], row["value"]) for row in rows] == [
        ("refusal_rate", "0.25"),
        ("language_match", "0.5"),
        ("tokens_per_second", ""),
        ("unheard_of", "0.75"),
    ]
    first, second, *_ = rows
    assert (first["candidate"], first["language"], first["answers"]) == ("'=a|b", "en", "12")
    assert (first["low"], first["high"], first["n"]) == ("0.125", "0.375", "12")
    assert (second["low"], second["n"], second["undecoded"]) == ("", "10", "2")


def test_the_composite_stands_beside_the_figures_of_all_reviews_alone(report):
    rows = rows_of(render("csv", report))
    told = {row["candidate"]: float(row["composite"]) for row in rows if row["composite"]}
    assert told == pytest.approx(dict(report.results.composite))
    assert all(not row["dimension"] for row in rows if row["composite"])


def test_each_bias_is_told_with_its_coefficient(report):
    position = report.results.position[0].model_copy(
        update={"coefficient": Figure(value=0.1875, n=9), "strict_ties": 4}
    )
    length = report.results.length[0].model_copy(
        update={"coefficient": Figure(value=0.8125, n=9), "markdown": Figure(value=0.0625, n=9)}
    )
    agreed = report.results.agreement[0].model_copy(update={"kappa": Figure(value=0.3125, n=9)})
    results = report.results.model_copy(
        update={"position": [position], "length": [length], "agreement": [agreed]}
    )
    changed = type(report)(results, report.spec, report.run, report.items)
    for form in ("html", "md"):
        text = render(form, changed).decode()
        for value in ("0.19", "0.81", "0.06", "0.31"):
            assert value in text, (form, value)


def test_what_both_orders_agree_on_and_ties_apart_stand_beside_the_plain_figures(report):
    [scope, *others] = report.results.scopes
    strict = Figure(value=0.8125, interval=Interval(low=0.6875, high=0.9375), n=4321)
    told = {"strict_win_rate": strict, "rating_newman": Figure(value=1077.25, n=99)}
    first = scope.candidates[0].model_copy(update=told)
    scopes = [scope.model_copy(update={"candidates": [first, *scope.candidates[1:]]}), *others]
    results = report.results.model_copy(update={"scopes": scopes})
    changed = type(report)(results, report.spec, report.run, report.items)
    row = rows_of(render("csv", changed))[0]
    names = [f"strict_win_rate{part}" for part in ("", "_low", "_high", "_n")]
    assert [float(row[name]) for name in names] == [0.8125, 0.6875, 0.9375, 4321]
    assert (row["rating_newman"], row["rating_newman_low"]) == ("1077.25", "")
    line = "81.2 % [68.8, 93.8] n = 4,321"
    text = render("md", changed).decode()
    assert line in text
    page = re.sub(r"<[^>]*>", "", render("html", changed).decode())
    assert line in page
    for form in (text, page):
        assert "1,077" in form
        assert "Win rate, orders agree" in form
        assert "no intervals" in form
    plain = render("html", report).decode()
    assert "Win rate, orders agree" not in plain
    assert "no intervals" not in plain


def test_categories_of_each_language_have_their_own_place(report):
    narrow = {"dimension": "general", "category": "math", "language": "zh"}
    scopes = [*report.results.scopes, report.results.scopes[0].model_copy(update=narrow)]
    results = report.results.model_copy(update={"scopes": scopes})
    changed = type(report)(results, report.spec, report.run, report.items)
    for form in ("html", "md"):
        text = render(form, changed).decode()
        assert "By dimension, category and language" in text
        assert "general · math · zh" in text


def test_nobody_is_ranked_if_nothing_could_be_read(report):
    [scope, *_] = report.results.scopes
    nothing = Figure(value=None)
    empty = {"mean_rank": nothing, "rank_score": nothing, "win_rate": nothing, "mean_score": None}
    empty |= {"rating": None, "rating_length_controlled": None, "rating_by_review": None}
    empty |= {"strict_win_rate": None, "rating_newman": None}
    unread = scope.model_copy(
        update={"candidates": [each.model_copy(update=empty) for each in scope.candidates]}
    )
    results = report.results.model_copy(update={"scopes": [unread], "composite": []})
    changed = type(report)(results, report.spec, report.run, report.items)
    assert b"There are no verdicts by which candidates could be ranked." in render("html", changed)
    assert "## Ranking" not in render("md", changed).decode()


def test_an_unfinished_run_says_so():
    report = report_of(run_items(1))
    results = report.results.model_copy(update={"complete": False})
    progress = report.run.progress.model_copy(update={"done": 4})
    run = report.run.model_copy(
        update={"progress": progress, "status": RunStatus.CANCELED, "reason": "budget"}
    )
    changed = type(report)(results, report.spec, run, report.items)
    for form in ("md", "html"):
        text = render(form, changed).decode()
        assert "canceled" in text
        assert "budget" in text
        assert "4 of 6" in text


def test_a_run_of_answers_alone_has_a_report():
    items = [
        each.model_copy(
            update={
                "dimension": None,
                "judge": None,
                "lineup": each.lineup[:1],
                "answers": each.answers[:1],
                "status": ItemStatus.PENDING,
                "verdict": None,
                "judge_text": None,
                "overrides": [],
                "error": None,
            }
        )
        for each in run_items(1)
    ]
    report = report_of(items)
    bare = report.results.model_copy(
        update={"scopes": [], "position": [], "length": [], "agreement": [], "composite": []}
    )
    changed = type(report)(bare, report.spec, report.run, items)
    assert b"no verdicts" in render("html", changed)
    assert len(render("jsonl", changed).splitlines()) == len(items)
    assert rows_of(render("csv", changed)) == []
    assert b"## Cost" in render("md", changed)
