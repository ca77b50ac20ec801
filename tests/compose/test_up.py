"""What `docker compose up` leaves running: all of it, healthy, soon, and behind closed doors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.compose.figures import note
from tests.compose.stack import NAME, SERVICES

if TYPE_CHECKING:
    from tests.compose.stack import Stack


def test_the_first_answer_comes_within_30_seconds(stack: Stack) -> None:
    assert stack.first_answer_seconds <= 30


def test_all_services_become_healthy(stack: Stack) -> None:
    note("all healthy after another", stack.wait_until_healthy(60))


def test_only_three_services_are_published_and_on_loopback(stack: Stack) -> None:
    published = {
        container["Config"]["Labels"]["com.docker.compose.service"]: {
            binding["HostIp"]
            for bindings in container["NetworkSettings"]["Ports"].values()
            for binding in bindings or []
        }
        for container in stack.containers()
    }
    assert {name: ips for name, ips in published.items() if ips} == {
        "controller": {"127.0.0.1"},
        "webui": {"127.0.0.1"},
        "grafana": {"127.0.0.1"},
    }


def test_no_container_may_more_than_it_must(stack: Stack) -> None:
    for container in stack.containers():
        host, name = container["HostConfig"], container["Name"]
        assert container["Config"]["User"].split(":")[0] not in {"", "0", "root"}, name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name


def test_workers_have_a_way_out_and_redis_has_none(stack: Stack) -> None:
    networks = {
        service: set(stack.containers(service)[0]["NetworkSettings"]["Networks"])
        for service in SERVICES
    }
    assert networks["redis"] == networks["evaluator"] == networks["prometheus"] == {f"{NAME}_fleet"}
    assert networks["worker"] == {f"{NAME}_fleet", f"{NAME}_edge"}


def test_secrets_are_their_groups_alone(stack: Stack) -> None:
    listed = stack.executed(
        "controller", "stat", "-c", "%a %g %n", "/secrets", "/secrets/admin_key"
    )
    assert listed.split("\n")[:2] == ["750 10001 /secrets", "440 10001 /secrets/admin_key"]
    look = "import os; os.listdir('/secrets')"
    told = stack.refused(
        "run", "--rm", "--no-deps", "--user", "4242:4242", "controller", "python", "-c", look
    )
    assert "PermissionError" in told
    write = "open('/secrets/admin_key', 'w')"
    for service in ("controller", "worker", "webui", "evaluator"):
        told = stack.refused("exec", "-T", service, "python", "-c", write)
        assert "Read-only file system" in told or "Permission denied" in told, service


def test_no_key_no_answer(stack: Stack) -> None:
    for path in ("/v1/models", "/metrics", "/metrics/targets", "/admin/workers"):
        assert stack.get(path).status_code == 401, path


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    before = [container["Id"] for container in stack.containers()]
    key = stack.key()
    stack.up()
    assert [container["Id"] for container in stack.containers()] == before
    assert stack.key() == key
