"""Spec files: what YAML means in them, and how a run is put into words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.eval.pace import Pace
from services.cli.eval.spec_file import SHIPPED, Changes, read_spec, shipped_names
from services.cli.eval.wording import duration, money
from services.cli.eval.yaml_file import read_yaml, written_yaml
from shared.errors import ConfigurationError, MalformedFile
from shared.protocol.evals.run import Sampling
from shared.protocol.evals.spec import EvalSpec


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        (".inf", ".inf"),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("-7", -7),
        ("true", True),
        ("null", None),
        ("", None),
        ("'1'", "1"),
    ],
)
def test_yaml_means_what_it_looks_like(tmp_path, text, value):
    path = tmp_path / "s.yaml"
    path.write_text(f"a: {text}\n")
    assert read_yaml(path) == {"a": value}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2", ":4: 'c' stands twice"),
        ("a: 1\nb: {c: Why?}", ":2: expected ',' or '}', but got '?' (texts with ?"),
        ("1: a", ":1: a key here is no text"),
        ("[a]: b", ":1: "),
        ("a: !!python/name:os.system x", ":1: "),
        ("a: 1\n\tb: 2", ":2: "),
        ("&a [*a]", "too many values, or too deep"),
        (
            "a: &a [1, 1]\n"
            + "\n".join(f"b{n}: &b{n} [*b{n - 1}, *b{n - 1}]" for n in range(1, 40)),
            ":",
        ),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_no_spec_is_named_by_its_line(tmp_path, text, says):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(MalformedFile) as refused:
        read_yaml(path)
    assert says in refused.value.message


def test_many_values_out_of_few_are_refused(tmp_path):
    path = tmp_path / "s.yaml"
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30)]
    path.write_text("\n".join(lines))
    with pytest.raises(MalformedFile, match="too many values"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1,\n "a": 2}', "'a' stands twice"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a":\n}', ":2: "),
    ],
)
def test_json_is_read_strictly(tmp_path, text, says):
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(MalformedFile) as refused:
        read_yaml(path)
    assert says in refused.value.message


@pytest.mark.parametrize("text", ["1e5", "-7", "0", "true", "null", "no", "a\x85b", "\u2028", ""])
def test_what_is_written_is_read_again(tmp_path, text):
    for value in ({"name": text}, {text: 1}, [text]):
        path = tmp_path / "s.yaml"
        path.write_bytes(written_yaml(value))
        assert read_yaml(path) == value


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_what_json_can_say_is_read_the_same_from_both(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("spec")
    (folder / "s.json").write_text(json.dumps(value))
    (folder / "s.yaml").write_bytes(written_yaml(value))
    assert read_yaml(folder / "s.json") == value
    assert read_yaml(folder / "s.yaml") == value


@pytest.mark.parametrize("name", shipped_names())
def test_specs_that_come_along_are_specs(name):
    spec = read_spec(name, Changes(["demo", "other"], ["big"]))
    body = dict(spec.evaluation)
    assert isinstance(body.pop("questions"), str)
    judges = [
        {"model": judge["model"], "sampling": judge["sampling"]} for judge in body.pop("judge")
    ]
    read = EvalSpec.model_validate_json(json.dumps({**body, "judges": judges, "questions": []}))
    assert read.name == name
    Sampling.model_validate(spec.run["sampling"])
    assert (SHIPPED / f"{name}.yaml").read_text().startswith("#")


def test_the_spec_in_the_readme_is_one(tmp_path):
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    [text] = re.findall(r"<<'END'\n(.*?)\nEND\n", readme, re.DOTALL)
    (tmp_path / "first.yaml").write_text(text)
    spec = read_spec(str(tmp_path / "first.yaml"), Changes())
    assert [question["category"] for question in spec.evaluation["questions"]] == ["knowledge"] * 2
    assert len(spec.run["candidates"]) == 2


def test_a_judge_of_the_file_tells_how_another_writes(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "judge: {model: a, logprobs: true}\nrun: {candidates: [m], limits: {max_tokens: 5}}"
    )
    spec = read_spec(str(path), Changes(judges=["b"], max_cost_usd=1))
    assert spec.evaluation["judge"] == [{"model": "b", "logprobs": True}]
    assert spec.run["limits"] == {"max_tokens": 5, "max_cost_usd": 1}


@pytest.mark.parametrize("named", ["=m", "n=", "="])
def test_a_candidate_has_a_name_and_a_model(named):
    with pytest.raises(ConfigurationError, match="NAME=MODEL"):
        read_spec("pairwise", Changes([named], ["j"]))


def test_a_set_of_questions_keeps_its_name_unless_it_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s.yaml"
    path.write_text("questions: en\nrun: {candidates: [m]}")
    assert read_spec("s.yaml", Changes()).evaluation["questions"] == "en"
    (tmp_path / "en").write_text('{"id": "a", "turns": ["Q?"]}')
    questions = read_spec("s.yaml", Changes()).evaluation["questions"]
    assert questions == [{"id": "a", "turns": ["Q?"]}]


def test_pace_is_that_of_the_last_half_minute():
    pace = Pace()
    assert pace.see(0, 0) is None
    assert pace.see(10, 100) == 10
    assert pace.see(40, 160) == 2
    assert pace.see(41, 0) is None  # resumed
    assert pace.see(43, 8) == 4


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (75, "1:15"), (3600 * 3 + 61, "3:01:01")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("dollars", "text"), [(0.00012, "$0.0001"), (0.25, "$0.2500"), (1234.5, "$1,234.50")]
)
def test_money(dollars, text):
    assert money(dollars) == text
