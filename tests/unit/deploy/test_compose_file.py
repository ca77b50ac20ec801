"""What docker-compose.yml promises, read from the file itself; tests/compose runs it for real."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.fakes.command_line import PROJECT

TEXT = (PROJECT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("controller", "controller-2", "worker", "worker-gpu", "webui", "evaluator")


def variables(text: str) -> set[str]:
    """Return the names of settings in a file of settings."""
    return set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE))


def test_the_example_names_every_variable_and_no_other() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    assert variables((PROJECT / ".env.example").read_text()) == used | {"COMPOSE_PROFILES"}


def test_every_variable_has_a_default_and_so_nothing_is_needed() -> None:
    assert re.findall(r"\$\{[A-Z_]+\}|\$\{[A-Z_]+:?\?", TEXT) == []


def test_the_examples_defaults_are_the_files() -> None:
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", TEXT))
    told = dict(
        re.findall(r"^([A-Z_]+)=(.*)$", (PROJECT / ".env.example").read_text(), re.MULTILINE)
    )
    assert {name: told[name] for name in defaults} == defaults


def test_the_gpu_example_sets_variables_that_there_are() -> None:
    example = (PROJECT / "deploy/gpu.env").read_text()
    assert variables(example) <= variables((PROJECT / ".env.example").read_text())
    assert "COMPOSE_PROFILES=gpu\n" in example
    assert "LLMZOO_CPU_WORKERS=0\n" in example
    assert SERVICES["worker-gpu"]["gpus"] == "all"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_loopbacks(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_three_services_are_published_by_default() -> None:
    published = {
        name for name, told in SERVICES.items() if told.get("ports") and "profiles" not in told
    }
    assert published == {"controller", "webui", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_waits_for_a_worker_and_none_restarts_with_redis(name: str) -> None:
    needed = SERVICES[name].get("depends_on", {})
    assert not {"worker", "worker-gpu"} & set(needed)
    assert not any(told.get("restart") for told in needed.values())


@pytest.mark.parametrize("name", OURS)
def test_the_drain_is_over_before_docker_kills(name: str) -> None:
    from shared.settings import FleetSettings  # noqa: PLC0415

    drain = FleetSettings.model_fields["drain_timeout"].default
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= drain + 15


@pytest.mark.parametrize(
    "name", [name for name in SERVICES if name not in {"init", "proxy", "jaeger"}]
)
def test_secrets_are_mounted_read_only_and_waited_for(name: str) -> None:
    assert "secrets:/secrets:ro" in SERVICES[name]["volumes"]
    assert SERVICES[name]["depends_on"]["init"] == {"condition": "service_completed_successfully"}


def test_no_secret_stands_in_the_file() -> None:
    for told in SERVICES.values():
        for variable, value in told.get("environment", {}).items():
            if re.search(r"TOKEN|PASSWORD|KEY|REDIS_URL", variable):
                assert str(value).startswith("/secrets/") or re.fullmatch(r"\$\{\w+:-\}", value), (
                    variable
                )
