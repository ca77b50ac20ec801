"""The keys of the environment and of a file."""

from __future__ import annotations

import pytest

from services.controller.access.key_record import digest
from services.controller.access.principal import ALL_SCOPES
from services.controller.access.static_keys import StaticKeys
from shared.errors import ConfigurationError
from shared.settings import ControllerSettings


def static_keys(path, keys=""):
    return StaticKeys(ControllerSettings(api_keys_file=path, api_keys=keys))


def scopes(keys, key):
    found = keys.find(digest(key.encode()))
    return None if found is None else found.scopes


def test_a_file_has_a_key_a_line(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# ours\none\n\n  two chat  metrics # a comment\nwith#sign admin\n")
    keys = static_keys(path, "three")
    assert scopes(keys, "one") == scopes(keys, "three") == ALL_SCOPES
    assert scopes(keys, "two") == {"chat", "metrics"}
    assert scopes(keys, "with#sign") == {"admin"}
    assert scopes(keys, "#") is scopes(keys, "ours") is scopes(keys, "") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("secret-1 chat root", "line 1: 'root'"),
        ("a\nsecret-1\nsecret-1", "line 3"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_fault_names_its_line_and_no_key(tmp_path, text, said):
    path = tmp_path / "keys"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError, match=said) as fault:
        static_keys(path)
    assert "secret-1" not in fault.value.message
    assert "LLMZOO_API_KEYS_FILE" in fault.value.message


def test_a_file_that_is_missing_is_a_fault(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        static_keys(tmp_path / "nowhere")


def test_a_file_is_read_again_when_it_changes_and_a_fault_in_it_changes_nothing(tmp_path):
    path = tmp_path / "keys"
    path.write_text("one")
    keys = static_keys(path)
    assert not keys.reread()
    path.write_text("one chat\nmore")
    assert keys.reread()
    assert scopes(keys, "one") == {"chat"}
    assert scopes(keys, "more") == ALL_SCOPES
    path.write_text("one nonsense")
    assert not keys.reread()
    assert scopes(keys, "one") == {"chat"}
    path.unlink()
    assert not keys.reread()
    assert scopes(keys, "one") == {"chat"}
    path.write_text("")
    assert keys.reread()
    assert scopes(keys, "one") is None
    assert keys.configured
