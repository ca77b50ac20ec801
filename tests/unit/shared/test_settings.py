"""Settings come from the environment, and a wrong value names its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.settings import ControllerSettings, WorkerSettings, load


def test_lists_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMZOO_API_KEYS", "a, b")
    monkeypatch.setenv("LLMZOO_ALLOWED_NETWORKS", "10.0.0.0/8,::1/128")
    settings = load(ControllerSettings)
    assert [key.get_secret_value() for key in settings.api_keys] == ["a", "b"]
    assert [str(network) for network in settings.networks()] == ["10.0.0.0/8", "::1/128"]


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMZOO_WORKER_PORT", "")
    assert load(WorkerSettings).worker_port == 8010


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LLMZOO_WORKER_PORT", "70000"),
        ("LLMZOO_WORKER_PORT", "x"),
        ("LLMZOO_DTYPE", "float8"),
        ("LLMZOO_HEARTBEAT_TTL", "-1"),
        ("LLMZOO_ALLOWED_NETWORKS", "10.0.0.0/8,nonsense"),
        ("LLMZOO_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable):
        load(WorkerSettings)


def test_secrets_do_not_show_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMZOO_INTERNAL_TOKEN", "tell-nobody")
    assert "tell-nobody" not in repr(load(WorkerSettings))


def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of the file\n")
    monkeypatch.setenv("LLMZOO_INTERNAL_TOKEN_FILE", str(file))
    assert load(WorkerSettings).internal_token.get_secret_value() == "of the file"
    monkeypatch.setenv("LLMZOO_INTERNAL_TOKEN", "of the variable")
    assert load(WorkerSettings).internal_token.get_secret_value() == "of the variable"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
def test_a_secrets_file_at_fault_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("LLMZOO_INTERNAL_TOKEN_FILE", str(file))
    with pytest.raises(ConfigurationError, match=r"LLMZOO_INTERNAL_TOKEN_FILE: .*token"):
        load(WorkerSettings)
