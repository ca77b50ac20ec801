"""Whatever JSON comes: a spec or faults, and never another failure."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.evaluator.specs.body import parse_body
from services.evaluator.specs.evaluation import read_eval
from services.evaluator.specs.execution import read_run
from services.evaluator.specs.findings import Findings
from services.evaluator.specs.openai_eval import read_openai_eval
from services.evaluator.specs.openai_run import read_openai_run
from services.evaluator.specs.requests import read_resumption
from shared.errors import InvalidRequest, InvalidSpec
from shared.protocol.evals.run import RunSpec
from shared.protocol.evals.spec import EvalSpec
from tests.fakes.spec_readers import (
    METRICS,
    completions,
    eval_body,
    openai_eval,
    question_set,
    string_check,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
NAMES = st.sampled_from(
    [
        "id",
        "text",
        "turns",
        "query",
        "category",
        "reference",
        "messages",
        "role",
        "content",
        "type",
        "name",
        "model",
        "judge",
        "mode",
        "criteria",
        "low",
        "high",
        "item",
        "sample",
        "output_text",
        "source",
        "template",
        "input",
        "labels",
        "range",
        "answers",
        "question_id",
        "lineup",
        "ranks",
        "scores",
        "order",
        "metadata",
        "model_ids",
        "limits",
        "sampling",
        "choices",
    ]
) | st.text(max_size=3)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
EVAL = eval_body(
    mode="ordering", applies_to={"general": {}}, weights={}, metrics=["bleu"], swap="both"
)
RUN = {
    "candidates": [{"model": "alpha", "answers": [{"question_id": "1", "text": "x"}]}],
    "reviews": None,
    "limits": {"max_calls": 3},
    "sampling": {},
    "temperature": 0.1,
}
GRADER = {"type": "label_model", "name": "n", "model": "judge", "labels": ["a"], "input": []}


def places(value, path=()):
    """Return the path of everything in a body."""
    yield path
    if isinstance(value, dict):
        for name, content in value.items():
            yield from places(content, (*path, name))
    elif isinstance(value, list):
        for place, content in enumerate(value):
            yield from places(content, (*path, place))


def changed(body, path, value):
    if not path:
        return value
    copy = dict(body) if isinstance(body, dict) else list(body)
    copy[path[0]] = changed(copy[path[0]], path[1:], value)
    return copy


@st.composite
def broken(draw, body):
    """A good body in which something is something else."""
    path = draw(st.sampled_from([path for path in places(body) if path]))
    return changed(body, path, draw(JSON))


def reads(reader):
    """Read; what has no fault must be a spec that can be stored."""
    findings = Findings()
    spec = reader(findings)
    if not findings:
        shape = type(spec)
        assert shape.model_validate_json(spec.model_dump_json()) == spec
    else:
        with pytest.raises(InvalidSpec):
            findings.raise_if_any()


SPEC = read_eval(eval_body(), Findings(), question_set)
OPENAI_SPEC = read_openai_eval(openai_eval(), Findings(), METRICS)
bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@bounded
@given(broken(EVAL) | st.dictionaries(st.sampled_from(sorted(EVAL)), JSON))
def test_evals(body):
    reads(lambda findings: read_eval(body, findings, question_set))


@bounded
@given(broken(RUN) | st.dictionaries(st.sampled_from(sorted(RUN)), JSON))
def test_runs(body):
    reads(lambda findings: read_run(body, SPEC, findings).run)


@bounded
@given(broken(openai_eval(GRADER, string_check())))
def test_openais_evals(body):
    if "testing_criteria" in body:
        reads(lambda findings: read_openai_eval(body, findings, METRICS))


@bounded
@given(broken(completions({"q": "1", "a": "2"}, sampling_params={"seed": 1})))
def test_openais_runs(body):
    reads(lambda findings: read_openai_run(body, OPENAI_SPEC, findings).run)


@bounded
@given(st.dictionaries(st.sampled_from(["only", "limits", "judge", "judges"]), JSON))
def test_resumptions(body):
    reads(lambda findings: read_resumption(body, findings))


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"a": NaN}', 400),
        (b'{"a": Infinity}', 400),
        (b'{"a": 1e999}', 400),
        (b'{"a": "\xff"}', 400),
        (b'{"a": "\\ud800"}', 400),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", 400),
        (b'{"a": ' * 100_000, 400),
        (b"[" * 1_000_000, 400),
        (b'{"a": {"b": 1, "b": 1}, "c": [{"d~": 1, "d~": 2}]}', 422),
        (b'{"a": ' + b"9" * 30 + b"}", 422),
        (b'{"a": -' + b"9" * 100_000 + b"}", 400),
    ],
)
def test_bad_bytes(raw, status):
    with pytest.raises(InvalidRequest if status == 400 else InvalidSpec) as caught:
        parse_body(raw)
    assert caught.value.status == status


def test_where_keys_stand_twice():
    raw = b'{"a": {"b": 1, "b": 1}, "c": [{"d~": 1, "d~": 2}], "e": 99999999999999999999}'
    with pytest.raises(InvalidSpec) as caught:
        parse_body(raw)
    assert {pointer for pointer, _ in caught.value.faults} == {"/a/b", "/c/0/d~0", "/e"}


@given(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS)))
def test_good_bytes(body):
    assert parse_body(orjson.dumps(body)) == orjson.loads(orjson.dumps(body))


def test_the_largest_whole_numbers():
    assert parse_body(b'{"a": 9223372036854775807, "b": -9223372036854775808}') == {
        "a": 2**63 - 1,
        "b": -(2**63),
    }


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "changes",
    [
        {f"field {number}": 1 for number in range(100_000)},
        {"questions": [{"text": "a", **{f"field {number}": 1 for number in range(100_000)}}]},
        {"weights": {str(number): 1 for number in range(100_000)}},
        {"applies_to": {str(number): 1 for number in range(100_000)}},
    ],
)
def test_a_body_of_many_faults_is_read_in_linear_time(changes):
    findings = Findings()
    read_eval({**EVAL, **changes}, findings, question_set)
    assert findings.full


def test_types():
    assert isinstance(SPEC, EvalSpec)
    assert isinstance(read_run(RUN, SPEC, Findings()).run, RunSpec)
