from __future__ import annotations

import sys

import pytest

from services.cli.up.plan import Role, UpOptions, make_plan
from shared.errors import ConfigurationError
from shared.settings import ZooSettings

# High enough that nothing of this machine listens there.
PORTS = {
    "controller_port": 28000,
    "evaluator_port": 28001,
    "webui_port": 27860,
    "worker_port": 28010,
}


@pytest.fixture
def settings(tmp_path) -> ZooSettings:
    return ZooSettings(state_dir=tmp_path, **PORTS)


def test_all_services_the_worker_first(settings) -> None:
    plans = make_plan(settings, UpOptions())
    assert [(plan.name, plan.port) for plan in plans] == [
        ("worker", 28010),
        ("controller", 28000),
        ("evaluator", 28001),
        ("webui", 27860),
    ]
    assert plans[0].command == (sys.executable, "-m", "services.worker")
    assert plans[3].environment == {
        "LLMZOO_MODEL": "demo",
        "LLMZOO_BASE_URL": "http://127.0.0.1:28000",
        "LLMZOO_WEBUI_PORT": "27860",
    }


def test_the_offset_moves_every_port(settings) -> None:
    plans = make_plan(settings, UpOptions(port_offset=100))
    assert [plan.port for plan in plans] == [28110, 28100, 28101, 27960]
    assert plans[2].environment["LLMZOO_BASE_URL"] == "http://127.0.0.1:28100"


def test_only_what_was_asked_for(settings) -> None:
    plans = make_plan(settings, UpOptions(only=("webui", "worker")))
    assert [plan.role for plan in plans] == [Role.WORKER, Role.WEBUI]
    # The user's own LLMZOO_BASE_URL, or the default, names the controller then.
    assert "LLMZOO_BASE_URL" not in plans[1].environment


def test_workers_have_names_and_ports_of_their_own(settings) -> None:
    plans = make_plan(settings, UpOptions(only=("worker",), workers=3, model="other"))
    assert [(plan.name, plan.port) for plan in plans] == [
        ("worker-1", 28010),
        ("worker-2", 28011),
        ("worker-3", 28012),
    ]
    assert plans[2].environment == {"LLMZOO_MODEL": "other", "LLMZOO_WORKER_PORT": "28012"}


def test_a_worker_takes_no_port_that_another_service_needs(tmp_path) -> None:
    settings = ZooSettings(state_dir=tmp_path, **{**PORTS, "worker_port": 28000})
    assert make_plan(settings, UpOptions())[0].port == 28002


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (UpOptions(only=("worker", "judge")), "no service is called judge; there are worker,"),
        (UpOptions(workers=0), "at least 1 is needed"),
        (UpOptions(port_offset=60000), "88000 for the controller is not a port"),
        (UpOptions(port_offset=-28000), "0 for the controller is not a port"),
        (UpOptions(only=("worker",), port_offset=60000), "no free port for a worker from 88010"),
    ],
)
def test_options_that_do_not_fit(settings, options, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_plan(settings, options)


def test_two_services_on_one_port(tmp_path) -> None:
    settings = ZooSettings(state_dir=tmp_path, **{**PORTS, "webui_port": 28000})
    with pytest.raises(ConfigurationError, match="both want port 28000: set LLMZOO_WEBUI_PORT"):
        make_plan(settings, UpOptions())
