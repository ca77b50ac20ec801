"""What `llmzoo doctor` finds of a Redis: real servers with real faults, and one with a wrong clock."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from services.cli.doctor.check import Status
from services.cli.doctor.redis_server import asked
from services.cli.doctor.redis_server import redis as look
from services.cli.up.redis_server import EmbeddedRedis
from shared.protocol.workers import ServiceRecord, State
from shared.registry import keys
from shared.registry.record import sign
from shared.settings import FleetSettings, ZooSettings, load
from tests.fakes.resp_server import RespServer
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import block_until

pytestmark = pytest.mark.redis


@pytest.fixture
def server(redis_server):
    """A client of a real server."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def found(url, token=TOKEN):
    """Return the findings by their name; one of several with the same name is in a list."""
    settings = load(FleetSettings, redis_url=SecretStr(url), internal_token=SecretStr(token))
    checks = list(asked(settings))
    assert all(check.fix for check in checks if check.status is not Status.OK)
    assert all("secret" not in check.found + check.fix for check in checks)
    return {check.name: check for check in checks}


def test_a_healthy_server_is_well_and_nothing_stays_in_it(server, redis_server):
    checks = found(redis_server.url)
    assert {check.status for check in checks.values()} == {Status.OK}
    assert {"Redis", "Redis writes", "Redis memory", "clock"} <= checks.keys()
    assert server.keys() in ([], [keys.PROBE.encode()])
    assert server.pttl(keys.PROBE) <= 1000


@pytest.mark.parametrize("url", ["unix://:secret@/no/such/socket", "redis://:secret@127.0.0.1:1/0"])
def test_a_server_that_is_not_there_fails(url):
    check = found(url)["Redis"]
    assert check.status is Status.FAIL
    assert "nothing answers at" in check.found
    assert "LLMZOO_REDIS_URL" in check.fix


@pytest.mark.parametrize("url", ["nonsense://", "redis://:secret@host:port/0", "redis"])
def test_what_is_no_url_fails(url):
    check = found(url)["Redis"]
    assert check.status is Status.FAIL
    assert "redis://:password@host:6379/0" in check.fix


def test_a_wrong_password_is_told_and_not_shown(server, redis_server):
    server.config_set("requirepass", "right secret")
    without = found(redis_server.url)["Redis"]
    wrong = found(redis_server.url.replace("unix://", "unix://:wrongsecret@"))["Redis"]
    for check in (without, wrong):
        assert check.status is Status.FAIL
        assert "does not take the password" in check.found


def test_a_frozen_server_is_told_in_time(redis_server):
    redis_server.freeze()
    assert "nothing answers" in found(redis_server.url)["Redis"].found


def test_a_server_that_still_loads_is_told():
    with RespServer(refusal="LOADING Redis is loading the dataset in memory") as server:
        check = found(server.url)["Redis"]
    assert check.status is Status.FAIL
    assert "still reads its data" in check.found


def test_a_policy_that_drops_keys_warns(server, redis_server):
    server.config_set("maxmemory-policy", "allkeys-lru")
    check = found(redis_server.url)["Redis memory"]
    assert check.status is Status.WARN
    assert "allkeys-lru drops keys" in check.found
    assert "maxmemory-policy noeviction" in check.fix


def test_a_memory_that_is_nearly_full_warns(server, redis_server):
    used = server.info()["used_memory"]
    server.config_set("maxmemory", int(used * 1.15))
    check = found(redis_server.url)["Redis memory"]
    assert check.status is Status.WARN
    assert "nearly full" in check.found


def test_a_memory_that_is_full_fails(server, redis_server):
    server.config_set("maxmemory", 1)
    check = found(redis_server.url)["Redis writes"]
    assert check.status is Status.FAIL
    assert "OOM" in check.found


def test_a_replica_fails(server, redis_server):
    server.execute_command("REPLICAOF", "127.0.0.1", "1")
    check = found(redis_server.url)["Redis writes"]
    assert check.status is Status.FAIL
    assert "replica" in check.found


def test_writes_that_a_failed_snapshot_has_stopped_fail(server, redis_server):
    # The snapshot cannot be put where a folder is.
    folder = redis_server.url.removeprefix("unix://").removesuffix("/redis.sock")
    (Path(folder) / "dump.rdb/x").mkdir(parents=True)
    server.config_set("save", "3600 1")
    server.bgsave()
    block_until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err")
    check = found(redis_server.url)["Redis writes"]
    assert check.status is Status.FAIL
    assert "MISCONF" in check.found
    assert "disk" in check.fix


def test_a_user_that_may_not_write_is_told(server, redis_server):
    server.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "&*", "+@all", "-set")
    url = redis_server.url.replace("unix://", "unix://reader:secret@")
    check = found(url)["Redis writes"]
    assert check.status is Status.FAIL
    assert "'set'" in check.found


@pytest.mark.parametrize(
    ("ahead", "says"),
    [
        (0.0, "as that of Redis"),
        (60.0, "60 seconds ahead of"),
        (-3600.0, "3600 seconds behind"),
    ],
)
def test_a_clock_that_goes_wrong_warns(ahead, says):
    with RespServer(ahead=ahead) as server:
        check = found(server.url)["clock"]
    assert (check.status is Status.OK) == (ahead == 0)
    assert says in check.found


def announce(server, name, token, **fields):
    """Write a service's record as its heartbeat does."""
    told = {"kind": "worker", "address": "http://127.0.0.1:8010", "incarnation": "1", **fields}
    server.sadd(keys.SERVICES, name)
    server.set(keys.service(name), sign(ServiceRecord(id=name, **told), token))


def test_the_fleet_is_told_by_state(server, redis_server):
    announce(server, "controller-1", TOKEN, kind="controller", state=State.READY)
    announce(server, "worker-1", TOKEN, state=State.DOWNLOADING, progress=0.43, detail="1 of 2 GB")
    checks = found(redis_server.url)
    assert checks["registry"].found == "controller ready, worker downloading"
    workers = checks["workers"]
    assert workers.status is Status.WARN
    assert "none of 1 is ready: worker-1 is downloading 43 % (1 of 2 GB)" in workers.found
    announce(server, "worker-2", TOKEN, state=State.READY)
    assert found(redis_server.url)["workers"].found == "1 of 2 ready"


def test_a_wrong_internal_token_is_told_once(server, redis_server):
    announce(server, "worker-1", "another token")
    announce(server, "worker-2", "another token")
    checks = found(redis_server.url)
    token = checks["internal token"]
    assert token.status is Status.FAIL
    assert "not that of the 2 services" in token.found
    assert "registry" not in checks
    assert not server.exists(keys.refusal("worker-1"))
    unset = found(redis_server.url, token="")["internal token"]
    assert unset.status is Status.WARN


def test_a_single_service_with_another_token_is_refused_by_name(server, redis_server):
    announce(server, "worker-1", TOKEN, state=State.READY)
    announce(server, "worker-2", "another token")
    checks = list(asked(load(FleetSettings, redis_url=redis_server.url, internal_token=TOKEN)))
    (refused,) = [check for check in checks if check.status is Status.FAIL]
    assert "worker-2 is refused: its record is not signed" in refused.found
    assert "LLMZOO_INTERNAL_TOKEN" in refused.fix


def test_what_a_controller_says_of_a_service_is_told(server, redis_server):
    announce(server, "worker-1", TOKEN, state=State.READY)
    why = "its address 'http://8.8.8.8:1' lies outside the allowed networks"
    server.set(keys.refusal("worker-1"), why)
    checks = list(asked(load(FleetSettings, redis_url=redis_server.url, internal_token=TOKEN)))
    (refused,) = [check for check in checks if check.status is Status.FAIL]
    assert refused.found == f"worker-1 is refused: {why}"
    assert "LLMZOO_ALLOWED_NETWORKS" in refused.fix


def test_the_server_of_a_zoo_that_runs_is_looked_into(server, redis_server, tmp_path, monkeypatch):
    monkeypatch.delenv("LLMZOO_REDIS_URL", raising=False)
    zoo = load(ZooSettings, state_dir=tmp_path)
    assert "to be started" in next(iter(look(zoo))).found
    embedded = EmbeddedRedis.prepare(tmp_path, 0)
    (tmp_path / "internal_token").write_text(f"{TOKEN}\n")
    server.config_set("requirepass", embedded.password)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(embedded.socket_file))
    assert "to be started" in next(iter(look(zoo))).found
    embedded.remove_socket()
    embedded.socket_file.symlink_to(redis_server.url.removeprefix("unix://"))
    announce(server, "worker-1", TOKEN, state=State.READY)
    checks = {check.name: check for check in look(zoo)}
    assert str(tmp_path) in checks["Redis"].found
    assert checks["workers"].found == "1 of 1 ready"
