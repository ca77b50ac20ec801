"""Which looks are taken on a host, and which in a container of one service."""

from __future__ import annotations

import pytest

from services.cli.doctor.looks import Examiner

EVERYWHERE = ["machine", "folders", "Redis", "controller", "Docker", "Compose", ".env"]


def subjects(project, service):
    examiner = Examiner(project, in_container=bool(service), service=service)
    return [look.subject for look in examiner.looks()]


def test_on_a_host_all_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMZOO_WEBUI_PORT", "7999")
    found = subjects(tmp_path, "")
    assert set(EVERYWHERE) | {"GPU", "model", "port 8000", "port 7999"} <= set(found)


@pytest.mark.parametrize("service", ["controller", "webui", "evaluator"])
def test_containers_without_torch_have_no_model(tmp_path, service):
    assert subjects(tmp_path, service) == EVERYWHERE


def test_a_workers_container_has(tmp_path):
    assert {"GPU", "model"} <= set(subjects(tmp_path, "worker"))


@pytest.mark.parametrize(
    ("service", "names"),
    [
        ("", ["model cache", "state folder"]),
        ("controller", ["call store"]),
        ("webui", ["conversation log"]),
        ("evaluator", []),
        ("worker", ["model cache"]),
    ],
)
def test_only_folders_that_are_written_to_are_looked_at(tmp_path, service, names):
    looks = {look.subject: look for look in Examiner(tmp_path, service=service).looks()}
    assert [check.name for check in looks["folders"].ask()] == names


def test_a_folder_that_was_moved_is_looked_at_on_a_host(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMZOO_LOG_DIR", str(tmp_path / "log"))
    looks = {look.subject: look for look in Examiner(tmp_path, service="").looks()}
    assert "conversation log" in [check.name for check in looks["folders"].ask()]


def test_published_ports_are_looked_at_where_docker_is(tmp_path, monkeypatch):
    ports = '["127.0.0.1:${GRAFANA_PORT:-3999}:3000"]'
    (tmp_path / "docker-compose.yml").write_text(
        f"name: llmzoo\nservices:\n  g:\n    ports: {ports}\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "port 3999" not in subjects(tmp_path, "")
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    assert "port 3999" in subjects(tmp_path, "")
