"""No extra but the worker's brings torch, told from what the installed packages ask for."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fakes.command_line import PROJECT

HEAVY = {"torch", "transformers", "safetensors", "accelerate"}


def brought_by(extra: str) -> set[str]:
    """Return the names of all packages that one of our extras brings on this system."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][extra]]
    left = [each for each in map(Requirement, wanted) if applies(each, "")]
    found = set[tuple[str, str]]()
    while left:
        requirement = left.pop()
        for chosen in ("", *requirement.extras):
            key = canonicalize_name(requirement.name), chosen
            if key not in found:
                found.add(key)
                left += [each for each in asked_by(key[0]) if applies(each, chosen)]
    return {name for name, _ in found}


def asked_by(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:  # for another system or Python, or one that is not needed here
        return []


def applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


@pytest.mark.parametrize("extra", ["controller", "webui", "evaluator", "otel"])
def test_no_torch(extra: str) -> None:
    assert not HEAVY & brought_by(extra)


def test_the_worker_has_it() -> None:
    assert brought_by("worker") >= HEAVY
