"""What a fleet needs to know of itself is drawn once, and readable by its group alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.secrets import write_missing
from shared.errors import ConfigurationError
from shared.key_file import read_key_file

NAMES = {
    "redis_password",
    "internal_token",
    "admin_key",
    "webui_key",
    "evaluator_key",
    "metrics_key",
    "grafana_password",
    "redis_url",
    "redis.conf",
    "api_keys",
}


def test_all_are_made_and_belong_to_the_group(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert set(write_missing(folder, "redis:6379")) == NAMES
    assert {file.name for file in folder.iterdir()} == NAMES
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o440}
    assert folder.stat().st_mode & 0o777 == 0o750


def test_no_two_are_alike(tmp_path: Path) -> None:
    write_missing(tmp_path, "redis:6379")
    drawn = NAMES - {"redis_url", "redis.conf", "api_keys"}
    texts = {(tmp_path / name).read_text().strip() for name in drawn}
    assert len(texts) == len(drawn)
    assert min(map(len, texts)) >= 40


def test_the_derived_files_say_the_same(tmp_path: Path) -> None:
    write_missing(tmp_path, "elsewhere:7000")
    password = (tmp_path / "redis_password").read_text().strip()
    assert (tmp_path / "redis_url").read_text() == f"redis://:{password}@elsewhere:7000/0\n"
    assert (tmp_path / "redis.conf").read_text() == f"requirepass {password}\n"
    scopes = {line.key: line.scopes for line in read_key_file(tmp_path / "api_keys")}
    assert scopes == {
        (tmp_path / name).read_text().strip(): told
        for name, told in {
            "admin_key": (),
            "webui_key": ("chat",),
            "evaluator_key": ("chat", "eval"),
            "metrics_key": ("metrics",),
        }.items()
    }


def test_what_is_there_stays(tmp_path: Path) -> None:
    write_missing(tmp_path, "redis:6379")
    before = {file.name: (file.read_bytes(), file.stat().st_ino) for file in tmp_path.iterdir()}
    assert write_missing(tmp_path, "redis:6379") == []
    after = {file.name: (file.read_bytes(), file.stat().st_ino) for file in tmp_path.iterdir()}
    assert after == before


def test_a_deleted_one_is_drawn_anew_and_what_follows_from_it_changes(tmp_path: Path) -> None:
    write_missing(tmp_path, "redis:6379")
    old = (tmp_path / "webui_key").read_text().strip()
    token = (tmp_path / "internal_token").read_bytes()
    (tmp_path / "webui_key").unlink()
    assert set(write_missing(tmp_path, "redis:6379")) == {"webui_key", "api_keys"}
    assert old not in (tmp_path / "api_keys").read_text()
    assert (tmp_path / "internal_token").read_bytes() == token


@pytest.mark.parametrize("content", [b"", b"two words", b"a\nb\n"])
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "admin_key").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"admin_key holds no secret"):
        write_missing(tmp_path, "redis:6379")
    assert (tmp_path / "admin_key").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("a file")
    ended = subprocess.run(
        [sys.executable, "-m", "services.cli.secrets", str(tmp_path / "secrets" / "x")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("secrets: ")
    assert "secrets/x" in ended.stderr
    assert "Traceback" not in ended.stderr
