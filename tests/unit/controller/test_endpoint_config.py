"""The endpoints file: what may stand in it, and errors that name the place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.controller.endpoints.config import read_endpoints
from services.controller.endpoints.endpoints import open_endpoints
from services.controller.endpoints.usage import Usage, guess
from shared.errors import ConfigurationError
from shared.http.retry_after import parse_retry_after
from shared.settings import ControllerSettings
from tests.fakes.endpoints_file import write_endpoints

GOOD = {"name": "ext", "base_url": "https://api.example.com/v1", "models": ["big"]}
LOOPBACK = {**GOOD, "base_url": "http://127.0.0.1:9"}


def test_a_full_file_is_read(tmp_path):
    full = {
        **GOOD,
        "key_file": "ext.key",
        "models": [
            "big",
            {"name": "org/small", "alias": "small", "prices": {"input": 1, "output": 2}},
        ],
        "requests_per_minute": 500,
        "tokens_per_minute": 200_000,
        "prices": {"input": 0.5, "output": 2, "currency": "EUR"},
        "max_concurrency": 4,
        "timeout": 60,
        "connect_timeout": 1.5,
    }
    (read,) = read_endpoints(write_endpoints(tmp_path, full))

    assert [model.served_as for model in read.models] == ["big", "small"]
    assert read.models[1].name == "org/small"
    assert read.models[1].prices.currency == "USD"
    assert read.prices.currency == "EUR"


def test_the_readmes_example_is_read(tmp_path):
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    path = tmp_path / "endpoints.toml"
    path.write_text(readme.split("```toml\n")[1].split("```")[0])
    (tmp_path / "hosted.key").write_text("sk-x")

    endpoints = opened(path)

    assert list(endpoints.models) == ["hosted/big-1", "hosted/small", "lab/demo"]
    endpoints.close()


FAULTS = {
    "no name": ({"name": None}, "number 1: name"),
    "a slash in the name": ({"name": "a/b"}, "'a/b': name"),
    "an empty name": ({"name": ""}, "'': name"),
    "no models": ({"models": []}, "'ext': models"),
    "an empty model": ({"models": [""]}, "'ext': models.0.name"),
    "a line's end in a model": ({"models": ["a\nb"]}, "'ext': models.0.name"),
    "a number as model": ({"models": [3]}, "'ext': models.0"),
    "a model twice": ({"models": ["a", {"name": "b", "alias": "a"}]}, "'ext': the model 'a'"),
    "a key": ({"key": "sk-secret"}, "'ext': key: unknown field"),
    "an unknown field": ({"rpm": 3}, "'ext': rpm: unknown field"),
    "no limit at all": ({"requests_per_minute": 0}, "'ext': requests_per_minute"),
    "a negative limit": ({"tokens_per_minute": -1}, "'ext': tokens_per_minute"),
    "a limit in words": ({"requests_per_minute": "3"}, "'ext': requests_per_minute"),
    "no place": ({"max_concurrency": 0}, "'ext': max_concurrency"),
    "true places": ({"max_concurrency": True}, "'ext': max_concurrency"),
    "no time": ({"timeout": 0}, "'ext': timeout"),
    "a negative price": ({"prices": {"input": -1, "output": 1}}, "'ext': prices.input"),
    "half a price": ({"prices": {"input": 1}}, "'ext': prices.output"),
    "a currency in words": (
        {"prices": {"input": 1, "output": 1, "currency": "dollars"}},
        "'ext': prices.currency",
    ),
    "no URL": ({"base_url": "api.example.com"}, "'ext': base_url"),
    "a file's URL": ({"base_url": "file:///etc/passwd"}, "'ext': base_url"),
    "a user in the URL": ({"base_url": "https://me:pw@example.com"}, "'ext': base_url"),
    "a query": ({"base_url": "https://example.com/v1?x=1"}, "'ext': base_url"),
    "a line's end in the URL": ({"base_url": "http://x/\r\nhost: y"}, "'ext': base_url"),
    "a port too high": ({"base_url": "http://127.0.0.1:99999"}, "'ext': base_url"),
    "no host": ({"base_url": "http:///v1"}, "'ext': base_url"),
    "an authority for http": ({"base_url": "http://x", "ca_file": "a.pem"}, "ca_file"),
}


@pytest.mark.parametrize(("changes", "told"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_names_file_endpoint_and_field(tmp_path, changes, told):
    path = write_endpoints(tmp_path, {**GOOD, **changes})

    with pytest.raises(ConfigurationError) as refused:
        read_endpoints(path)

    assert str(path) in refused.value.message
    assert told in refused.value.message
    assert "sk-secret" not in refused.value.message
    assert ":pw" not in refused.value.message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[[endpoints]", "no TOML"),
        ("", "endpoints"),
        ("endpoints = 3", "endpoints"),
        ("endpoints = [3]", "number 1"),
        ("endpoints = []", "endpoints"),
        ("[[endpoint]]\nname = 'x'", "endpoint"),
        ("\xff", "no TOML"),
    ],
)
def test_a_file_that_is_none(tmp_path, content, told):
    path = tmp_path / "endpoints.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=told):
        read_endpoints(path)


def test_two_endpoints_of_one_name(tmp_path):
    path = write_endpoints(tmp_path, GOOD, {**GOOD, "models": ["other"]})
    with pytest.raises(ConfigurationError, match="'ext': name: it is used twice"):
        read_endpoints(path)


def opened(path, **settings):
    return open_endpoints(ControllerSettings(endpoints_file=path, **settings), CollectorRegistry())


@pytest.mark.parametrize("key", [None, "", " \n", "two words", "two\nlines", "ké", "x" * 9000])
def test_a_key_file_without_a_key(tmp_path, key):
    if key is not None:
        (tmp_path / "ext.key").write_text(key)
    path = write_endpoints(tmp_path, {**LOOPBACK, "key_file": "ext.key"})
    with pytest.raises(ConfigurationError, match="'ext': key_file"):
        opened(path)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(ConfigurationError, match=r"LLMZOO_ENDPOINTS_FILE.*nowhere"):
        opened(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254", "http://[fe80::1]/v1", "http://8.8.8.8", "https://0.0.0.0"]
)
def test_an_address_that_is_not_allowed_is_refused_at_the_start(tmp_path, url):
    path = write_endpoints(tmp_path, {**GOOD, "base_url": url})
    with pytest.raises(ConfigurationError, match=r"'ext': base_url.*LLMZOO_ENDPOINT_NETWORKS"):
        opened(path)


def test_named_networks_stand_in_the_place_of_the_fleets(tmp_path):
    path = write_endpoints(tmp_path, LOOPBACK)
    opened(path).close()
    with pytest.raises(ConfigurationError, match="base_url"):
        opened(path, endpoint_networks="10.0.0.0/8")
    opened(path, endpoint_networks="127.0.0.1/32").close()


def test_an_authority_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    path = write_endpoints(tmp_path, {**GOOD, "ca_file": "ca.pem"})
    with pytest.raises(ConfigurationError, match="'ext': ca_file"):
        opened(path)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        (b"0", 0.0),
        (b"2.5", 2.5),
        (b" 7 ", 7.0),
        (b"1e9", None),
        (b"-1", None),
        (b"99999999999", 86400.0),
        (b"soon", None),
        (b"\xff", None),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (b"Thu, 01 Jan 1970 00:00:00", 0.0),
        (b"Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after(header, seconds):
    assert parse_retry_after(header) == seconds


def test_retry_after_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 <= parse_retry_after(date.encode()) <= 30


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, Usage(26, 512)),
        ({"max_tokens": 7}, Usage(26, 7)),
        ({"max_tokens": 7, "max_completion_tokens": 9, "n": 3}, Usage(26, 27)),
        ({"max_tokens": "7", "n": -1}, Usage(26, 512)),
        ({"max_tokens": 10**9, "n": 10**9}, Usage(26, 10**9)),
    ],
)
def test_what_a_request_may_come_to(body, expected):
    assert guess(body, 100) == expected
