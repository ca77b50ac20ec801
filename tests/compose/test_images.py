"""What the images hold: no more than their service needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.compose.figures import note

if TYPE_CHECKING:
    from tests.compose.stack import Stack

BASE = "python:3.11-slim-bookworm"
MB = 1_000_000


@pytest.mark.parametrize(
    ("service", "most"), [("controller", 300), ("webui", 450), ("evaluator", 480)]
)
def test_the_size_over_the_base_is_bounded(stack: Stack, service: str, most: int) -> None:
    size = (
        stack.inspect_image(f"llmzoo/{service}:check")["Size"] - stack.inspect_image(BASE)["Size"]
    )
    note(f"image of {service} over its base", size / MB, "MB")
    assert size <= most * MB


@pytest.mark.parametrize("service", ["controller", "webui", "evaluator"])
def test_no_torch_outside_of_workers(stack: Stack, service: str) -> None:
    look = "from importlib.util import find_spec as f; print([n for n in ('torch', 'transformers', 'safetensors') if f(n)])"
    assert stack.executed(service, "python", "-c", look).strip() == "[]"


def test_the_worker_carries_the_demo_model_read_only(stack: Stack) -> None:
    look = (
        "import os; print(os.environ['LLMZOO_SHIPPED_MODELS'], os.stat('/opt/demo/models').st_uid)"
    )
    assert stack.executed("worker", "python", "-c", look).split() == ["/opt/demo", "0"]
    # It was not converted again into the volume.
    assert (
        stack.executed("worker", "sh", "-c", "ls $HOME/.cache/llmzoo 2>/dev/null || true").strip()
        == ""
    )


@pytest.mark.parametrize("service", ["controller", "worker", "webui", "evaluator"])
def test_our_code_is_compiled(stack: Stack, service: str) -> None:
    look = (
        "import services, pathlib; folder = pathlib.Path(services.__file__).parent;"
        f"print(len(list((folder / '{service}').glob('__pycache__/*.pyc'))))"
    )
    assert int(stack.executed(service, "python", "-c", look)) > 3


@pytest.mark.parametrize("service", ["controller", "worker", "webui", "evaluator"])
def test_caches_lie_on_a_volume(stack: Stack, service: str) -> None:
    look = """
import os
for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "GRADIO_TEMP_DIR"):
    if name in os.environ:
        os.makedirs(os.environ[name], exist_ok=True)
        open(os.environ[name] + "/probe", "w").close()
        print(name, os.environ[name])
"""
    told = stack.executed(service, "python", "-c", look)
    assert "HOME /home/llmzoo\n" in told
    assert all(line.split()[1].startswith("/home/llmzoo") for line in told.splitlines())
    (mount,) = [
        m for m in stack.containers(service)[0]["Mounts"] if m["Destination"] == "/home/llmzoo"
    ]
    assert mount["Type"] == "volume"
    assert mount["RW"]
