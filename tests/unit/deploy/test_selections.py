"""The reading of expressions that the other tests rely on finds what is wrong with one."""

from __future__ import annotations

import pytest

from tests.fakes.selections import selections


def labels(expr):
    return {each.name: set(each.labels) for each in selections(expr)}


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ('sum by (a) (rate(x{b="1"}[5m]))', {"x": {"a", "b"}}),
        ("max by (a) (x and on (b) (y == 0))", {"x": {"a", "b"}, "y": {"b"}}),
        ("sum by (a) (x) / ignoring (c) y", {"x": {"a"}, "y": {"c"}}),
        ('sum by (new) (label_replace(x, "new", "$1", "old", "(.)"))', {"x": {"old"}}),
        ("histogram_quantile(0.5, x_bucket)", {"x_bucket": {"le"}}),
        ("histogram_quantile(0.5, sum by (le, a) (x_bucket))", {"x_bucket": {"le", "a"}}),
        ("sum(max by (a) (x))", {"x": {"a"}}),
        ("vector(0)", {}),
    ],
)
def test_labels_that_are_counted_on(expr, found):
    assert labels(expr) == found


def test_a_service_that_is_named():
    assert [each.service for each in selections('x{service="worker"} + y{service!="z"}')] == [
        "worker",
        None,
    ]


@pytest.mark.parametrize("expr", ["sum by (a x", "rate(x)", 'x{a="b"'])
def test_what_is_no_promql(expr):
    with pytest.raises(ValueError, match=r"."):
        list(selections(expr))
