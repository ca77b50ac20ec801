"""`.env` as compose reads it, and where compose stumbles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.doctor.check import Status
from services.cli.doctor.env_file import env_file, published_ports, read_env_file

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
VALUES = st.text(
    st.characters(codec="utf-8", exclude_characters="'\\\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")
)
COMPOSE = """name: llmzoo
services:
  controller:
    environment: {LLMZOO_API_KEYS: "${LLMZOO_API_KEYS:?put it into .env}"}
    ports: ["127.0.0.1:${LLMZOO_CONTROLLER_PORT:-8000}:8000"]
  grafana:
    ports: ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"]
"""
KNOWN = {"LLMZOO_MODEL", "LLMZOO_REDIS_URL"}


@given(st.dictionaries(NAMES, VALUES))
def test_what_stands_in_single_quotes_is_read_as_it_is(values):
    read = read_env_file("".join(f"{name}='{value}'\n" for name, value in values.items()))
    assert read.faults == read.doubts == []
    assert read.values == values


@given(st.text())
def test_any_text_is_read_or_told_of(text):
    read = read_env_file(text)
    assert all(name for name in read.values)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("# a\n\n  A=1\n", {"A": "1"}),
        ("export A=1\r\nB = a b\r\n", {"A": "1", "B": "a b"}),
        ("A: 1\n", {"A": "1"}),
        ("A=x #no\nB=x#yes\n", {"A": "x", "B": "x#yes"}),
        ("A='x\ny'\nB=2\n", {"A": "x\ny", "B": "2"}),
        ('A="say \\"x\\""\n', {"A": 'say \\"x\\"'}),
        ("\ufeffA=http://host:1/?a=b\n", {"A": "http://host:1/?a=b"}),
        ("A=\n", {"A": ""}),
    ],
)
def test_what_compose_takes_is_well(text, values):
    read = read_env_file(text)
    assert read.values == values
    assert read.faults == read.doubts == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("A=1\na b=2\n", "line 2 is no NAME=value"),
        ("A!=1\n", "line 1 is no NAME=value"),
        ("just words\n", "line 1 is no NAME=value"),
        ('A="1\nB=2\n', "line 1: the quote after A= is never closed"),
    ],
)
def test_what_compose_refuses_is_told_with_its_line(text, fault):
    assert read_env_file(text).faults == [fault]


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("KEY=sec$ret\n", "line 1: the $ in KEY names a variable; '…' keeps it a $"),
        ('KEY="sec${ret}"\n', "line 1: the $ in KEY names a variable; '…' keeps it a $"),
        ("KEY=1\nKEY=2\n", "line 2: KEY stands there twice, the last one counts"),
        ("KEY\n", "line 1: KEY has no value; write KEY="),
    ],
)
def test_what_compose_reads_otherwise_than_it_seems_is_told(text, doubt):
    assert read_env_file(text).doubts == [doubt]


@pytest.fixture
def project(tmp_path):
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)
    return tmp_path


def test_elsewhere_nothing_is_looked_for(tmp_path):
    (tmp_path / ".env").write_text("nonsense\n")
    assert list(env_file(tmp_path, KNOWN)) == []
    (tmp_path / "docker-compose.yml").write_text("name: other\n")
    assert list(env_file(tmp_path, KNOWN)) == []


def test_none_is_needed(project):
    assert [check.status for check in env_file(project, KNOWN)] == [Status.OK]


def test_a_good_one_is_well(project):
    (project / ".env").write_text("LLMZOO_API_KEYS=k\nLLMZOO_MODEL=demo\nOTHER=1\n")
    (found,) = env_file(project, KNOWN)
    assert (found.status, found.found) == (Status.OK, "3 settings")


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"LLMZOO_API_KEYS=hidden\nfoo bar\n", Status.FAIL, "line 2 is no NAME=value"),
        (b"GRAFANA_PORT=70000\n", Status.FAIL, "GRAFANA_PORT is no port from 1 to 65535"),
        (b"LLMZOO_MODLE=demo\n", Status.WARN, "nothing reads LLMZOO_MODLE; LLMZOO_MODEL is meant?"),
        (b"LLMZOO_API_KEYS=hid$den\n", Status.WARN, "the $ in LLMZOO_API_KEYS"),
        (b"A=\xff\n", Status.FAIL, "is no UTF-8 text"),
    ],
)
def test_a_bad_one_is_told_and_no_value_is_shown(project, content, status, says):
    (project / ".env").write_bytes(content)
    (found,) = env_file(project, KNOWN)
    assert found.status is status
    assert says in found.found
    assert found.fix
    assert "hid" not in found.found


def test_the_ports_that_are_published_follow_the_file(project):
    assert published_ports(project) == {"LLMZOO_CONTROLLER_PORT": 8000, "GRAFANA_PORT": 3000}
    (project / ".env").write_text("GRAFANA_PORT=3300\nLLMZOO_CONTROLLER_PORT=\n")
    assert published_ports(project) == {"LLMZOO_CONTROLLER_PORT": 8000, "GRAFANA_PORT": 3300}
