"""Plots: values stand where they belong, and what is no number stands nowhere."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.reports import wording
from services.evaluator.reports.measures import MEAN_RANK, RATING, SHARE, WIN_RATE
from services.evaluator.reports.plots.axis import axis_over
from services.evaluator.reports.plots.forest import Entry, forest
from services.evaluator.reports.plots.matrix import win_matrix
from services.evaluator.reports.scopes import letters
from shared.protocol.evals.results import Figure, Interval
from tests.fakes.report_data import CANDIDATES, run_items
from tests.fakes.report_figures import scope

NUMBERS = st.floats(min_value=-1e6, max_value=1e6)
ANY = st.floats(allow_nan=True, allow_infinity=True)


def places(drawing: str) -> list[float]:
    return [float(place) for place in re.findall(r'c?x[12]?="([^"%]+)%"', drawing)]


@given(st.lists(NUMBERS, min_size=2, max_size=8), st.booleans())
def test_places_keep_the_order_of_values(values, turned):
    axis = axis_over(values, turned=turned)
    drawn = [axis.place(value) for value in sorted(values, reverse=turned)]
    assert drawn == sorted(drawn)
    assert all(0 <= place <= 100 for place in drawn)


@given(st.lists(NUMBERS, min_size=1, max_size=8))
def test_ticks_are_a_few_round_numbers_within(values):
    axis = axis_over(values)
    assert 1 <= len(axis.ticks) <= 6
    slack = 1e-6 * axis.step
    assert all(axis.low - slack <= tick <= axis.high + slack for tick in axis.ticks)
    told = [wording.number(tick, axis.digits) for tick in axis.ticks]
    assert len(set(told)) == len(told)


@given(st.lists(st.tuples(ANY, ANY, ANY), max_size=5))
def test_any_figure_can_be_drawn(figures):
    entries = [
        Entry("a", Figure(value=value, interval=Interval(low=low, high=high), n=1))
        for value, low, high in figures
    ]
    for notation in (SHARE, RATING, MEAN_RANK):
        plot = forest(
            "title", notation, [*entries, Entry("b", None), Entry("c", Figure(value=None))]
        )
        drawn = "".join(row.drawing for row in plot.rows) + plot.scale
        assert "nan" not in drawn
        assert "inf" not in drawn
        assert all(math.isfinite(place) for place in places(drawn))


def test_the_better_end_is_the_right_one():
    def marks(measure, *values):
        entries = [Entry("a", Figure(value=value, n=1)) for value in values]
        rows = forest("", measure, entries).rows
        return [float(re.search(r'cx="([^%]+)%', row.drawing)[1]) for row in rows]

    best, worst = marks(MEAN_RANK, 1.2, 3.4)
    assert best > worst
    best, worst = marks(WIN_RATE, 0.8, 0.3)
    assert best > worst


def test_both_ends_of_an_interval_are_drawn_around_its_value():
    figure = Figure(value=2.0, interval=Interval(low=1.5, high=3.0), n=9)
    [row] = forest("", MEAN_RANK, [Entry("a", figure)]).rows
    centre = float(re.search(r'cx="([^%]+)%', row.drawing)[1])
    [whisker] = re.findall(
        r'<line class="first" x1="([^%]+)%" x2="([^%]+)%" y1="15" y2="15"', row.drawing
    )
    left, right = sorted(map(float, whisker))
    assert left < centre < right
    assert row.interval == "[1.50, 3.00]"


def test_the_matrix_mirrors_itself():
    whole = scope(run_items(), CANDIDATES)
    rows = win_matrix(whole)
    for one, row in enumerate(rows):
        assert row.cells[one] is None
        for other, cell in enumerate(row.cells):
            mirrored = rows[other].cells[one]
            if cell and mirrored:
                assert abs(int(cell.text) + int(mirrored.text) - 100) <= 1
                assert cell.separable == mirrored.separable


def test_candidates_that_cannot_be_told_apart_share_a_letter():
    whole = scope(run_items(), CANDIDATES)
    given_letters = letters(whole)
    for group in whole.groups:
        assert set.intersection(*(set(given_letters[name]) for name in group))
    assert not set(given_letters[whole.groups[0][0]]) & set(given_letters[whole.groups[-1][-1]])


def test_numbers_as_readers_see_them():
    assert wording.number(-0.001) == "0.00"
    assert wording.number(-1234.5, 1) == "\N{MINUS SIGN}1,234.5"
    assert wording.number(math.nan) == wording.NOTHING
    assert wording.share(0.1234) == "12.3 %"
    assert wording.count(2.5) == "2.5"
    assert wording.p_value(0.0004) == "< 0.001"
    assert wording.money(0.00123) == "$0.0012"
    assert wording.span(3725) == "1 h 2 min"
