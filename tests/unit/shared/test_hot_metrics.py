"""The quick metrics show what prometheus-client's own would."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from shared.hot_metrics import HotCounter, HotHistogram

BUCKETS = (0.1, 1.0, 2.5)


def shown(registry):
    """Return the lines of a scrape but for the time of creation, which ours do not tell."""
    return [
        line for line in generate_latest(registry).decode().splitlines() if "_created" not in line
    ]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5, 9.0]))))
def test_a_histogram_is_shown_alike(observed):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    hot = HotHistogram("zoo_seconds", "Some time", ["model"], buckets=BUCKETS, registry=ours)
    cold = Histogram("zoo_seconds", "Some time", ["model"], buckets=BUCKETS, registry=theirs)
    for model, value in observed:
        hot.labels(model).observe(value)
        cold.labels(model).observe(value)
    assert shown(ours) == shown(theirs)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9))))
def test_a_counter_is_shown_alike(counted):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    hot = HotCounter("zoo_answers_total", "Answers", ["code"], ours)
    cold = Counter("zoo_answers_total", "Answers", ["code"], registry=theirs)
    for code, amount in counted:
        hot.labels(code).inc(amount)
        cold.labels(code).inc(amount)
    assert shown(ours) == shown(theirs)


def test_metrics_without_labels_and_a_name_taken_twice():
    registry = CollectorRegistry()
    HotHistogram(
        "zoo_seconds", "Some time", [], buckets=BUCKETS, registry=registry
    ).labels().observe(3)
    assert registry.get_sample_value("zoo_seconds_count") == 1
    assert registry.get_sample_value("zoo_seconds_bucket", {"le": "2.5"}) == 0
    assert registry.get_sample_value("zoo_seconds_bucket", {"le": "+Inf"}) == 1
    try:
        Counter("zoo_seconds", "Taken", registry=registry)
    except ValueError:
        return
    raise AssertionError("the name is taken")
