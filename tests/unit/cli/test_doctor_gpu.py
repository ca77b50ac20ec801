"""GPUs, their driver, torch and Docker, as programs and files that a test makes up tell of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from services.cli.doctor import docker as docker_looks
from services.cli.doctor.check import Status
from services.cli.doctor.cuda import cuda
from services.cli.doctor.nvidia import Gpu, Nvidia, gpu, look
from services.cli.doctor.torch_build import installed, read_build, torch
from tests.fakes import programs

MIB = 1 << 20
A100 = Nvidia((Gpu("NVIDIA A100", 81920 * MIB, 80000 * MIB),), "535.54.03", (12, 2))
OLD_FORM = "services:\n  a:\n    gpus: all\nname: llmzoo\n"


def find(seen, *, wanted=False, in_container=False, root=Path("/none")):
    return gpu(seen, wanted=wanted, in_container=in_container, root=root)


def built(folder, cuda_version=None, version="2.13.0"):
    """Return a torch as its folder tells of it."""
    (folder / "lib").mkdir(parents=True)
    (folder / "lib/libtorch_cpu.so").touch()
    (folder / "_C.cpython-311.so").touch()
    told = None if cuda_version is None else repr(cuda_version)
    (folder / "version.py").write_text(
        f"from typing import Optional\n__version__ = '{version}'\n"
        f"cuda: Optional[str] = {told}\nhip: Optional[str] = None\n"
    )
    return read_build(folder)


def test_a_gpu_is_found_by_its_tool(tmp_path):
    seen = look(str(programs.nvidia_smi(tmp_path)))
    assert seen == A100
    found = find(seen)
    assert found.status is Status.OK
    assert found.found == "NVIDIA A100, 81920 MiB; driver 535.54.03 for CUDA up to 12.2"


@pytest.mark.parametrize(
    ("driver", "newest"), [("470.82.01", (11, 0)), ("550.54.15", (12, 4)), ("595.1.2", (13, 1))]
)
def test_a_driver_that_tells_no_cuda_is_known_by_its_version(tmp_path, driver, newest):
    script = f"case \"$*\" in *query-gpu*) echo 'A, [N/A], [N/A], {driver}';; esac"
    seen = look(str(programs.program(tmp_path / "nvidia-smi", script)))
    assert seen == Nvidia((Gpu("A"),), driver, newest)


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch", "reboot"),
        ("Failed to initialize NVML: Unknown Error", "restart it"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver", "dmesg"),
    ],
)
def test_a_tool_that_fails_is_told_in_its_own_words(tmp_path, words, fix):
    tool = programs.program(tmp_path / "nvidia-smi", f'echo "{words}"; exit 9')
    found = find(look(str(tool)))
    assert found.status is Status.FAIL
    assert words in found.found
    assert fix in found.fix


def test_no_gpu_is_well_unless_it_is_wanted(tmp_path):
    assert look(str(tmp_path / "none")) is None
    assert find(None).status is Status.OK
    assert find(None, wanted=True).status is Status.FAIL
    inside = find(None, wanted=True, in_container=True)
    assert inside.status is Status.FAIL
    assert "gpus: all" in inside.fix
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert "compute,utility" in find(None, wanted=True, in_container=True, root=tmp_path).fix


def test_a_card_without_its_driver_warns(tmp_path):
    for place, vendor, kind in (("a", "0x8086", "0x030000"), ("b", "0x10de", "0x030200")):
        device = tmp_path / "sys/bus/pci/devices" / place
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    found = find(None, root=tmp_path)
    assert found.status is Status.WARN
    assert "without its driver" in found.found
    assert find(None, root=tmp_path, in_container=True).status is Status.OK


def test_the_torch_that_is_installed_is_read_and_not_imported():
    before = "torch" in sys.modules
    build = installed()
    assert build is not None
    assert build.version.startswith("2.")
    assert torch(build).status is Status.OK
    assert ("torch" in sys.modules) == before


def test_torch_is_told_with_what_it_was_built_for(tmp_path):
    assert str(built(tmp_path / "a", "13.0")) == "2.13.0, built for CUDA 13.0"
    assert str(built(tmp_path / "b")) == "2.13.0, built for the processor"


def test_a_torch_that_is_missing_or_damaged_is_told(tmp_path):
    assert "llmzoo[worker]" in torch(None).fix
    build = built(tmp_path / "torch")
    (tmp_path / "torch/lib/libtorch_cpu.so").unlink()
    found = torch(build)
    assert found.status is Status.FAIL
    assert "libtorch_cpu" in found.found


def driver_says(tmp_path, code):
    """Return an interpreter under which the driver's start ends with this code."""
    return str(programs.program(tmp_path / "python", f"echo {code}"))


@pytest.mark.parametrize(
    ("version", "status", "says", "fix"),
    [
        ("13.0", Status.FAIL, "serves CUDA up to 12.2, and torch is built for 13.0", "580.65.06"),
        ("12.8", Status.WARN, "serves CUDA up to 12.2, and torch is built for 12.8", "12.2"),
        ("12.2", Status.OK, "torch is built for 12.2", ""),
        ("11.8", Status.OK, "torch is built for 11.8", ""),
    ],
)
def test_a_driver_too_old_for_the_wheel_is_told(tmp_path, version, status, says, fix):
    build = built(tmp_path / "torch", version)
    (found,) = cuda(A100, build, wanted=True, interpreter=driver_says(tmp_path, 0))
    assert (found.name, found.status) == ("CUDA", status)
    assert says in found.found
    assert fix in found.fix


@pytest.mark.parametrize(("wanted", "status"), [(True, Status.FAIL), (False, Status.WARN)])
def test_a_cpu_build_beside_a_gpu_is_told(tmp_path, wanted, status):
    (found,) = cuda(A100, built(tmp_path / "torch", version="2.13.0+cpu"), wanted=wanted)
    assert found.status is status
    assert found.found == "torch 2.13.0+cpu is a CPU build although there is a GPU"
    assert "torch==2.13.0 " in found.fix


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (803, "reboot"),
        (804, "cuda-compat"),
        (802, "fabricmanager"),
        (999, "nvidia_uvm"),
        (1, "reboot"),
    ],
)
def test_a_driver_that_does_not_start_is_told_by_its_code(tmp_path, code, fix):
    interpreter = driver_says(tmp_path, code)
    (found,) = cuda(A100, built(tmp_path / "t", "12.2"), wanted=False, interpreter=interpreter)
    assert found.status is Status.FAIL
    assert f"(CUDA error {code})" in found.found
    assert fix in found.fix


def test_a_driver_that_cannot_be_loaded_is_told(tmp_path):
    # This machine's own interpreter, on which there is no such library.
    (found,) = cuda(A100, built(tmp_path / "torch", "12.2"), wanted=False)
    assert found.status is Status.FAIL
    assert "libcuda.so.1" in found.found


def test_without_gpu_or_torch_nothing_is_compared(tmp_path):
    build = built(tmp_path / "torch", "13.0")
    assert list(cuda(None, build, wanted=True)) == []
    assert list(cuda(Nvidia(fault="broken"), build, wanted=True)) == []
    assert list(cuda(A100, None, wanted=True)) == []


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def look_at_docker(project, seen=A100, *, in_container=False):
    return list(docker_looks.docker(lambda: seen, project, in_container=in_container))


def test_no_toolkit_is_told_with_the_commands_that_install_it(path, tmp_path):
    programs.docker(path)
    programs.program(path / "apt-get", "")
    engine, toolkit = look_at_docker(tmp_path)
    assert (engine.status, engine.found) == (Status.OK, "engine 28.0.1")
    assert toolkit.status is Status.WARN
    assert "no NVIDIA container toolkit" in toolkit.found
    source, install, configure = toolkit.fix.splitlines()
    assert "/etc/apt/sources.list.d/nvidia-container-toolkit.list" in source
    assert install.endswith("apt-get install -y nvidia-container-toolkit")
    assert configure.startswith("sudo nvidia-ctk runtime configure --runtime=docker")
    (path / "apt-get").unlink()
    programs.program(path / "dnf", "")
    assert "dnf install -y nvidia-container-toolkit" in look_at_docker(tmp_path)[1].fix


def test_no_toolkit_fails_where_the_gpu_worker_is_to_run(path, tmp_path):
    programs.docker(path)
    (tmp_path / ".env").write_text("COMPOSE_PROFILES=tracing,gpu\n")
    assert look_at_docker(tmp_path)[1].status is Status.FAIL


def test_a_toolkit_that_docker_does_not_know_is_told(path, tmp_path):
    programs.docker(path)
    programs.program(path / "nvidia-container-runtime-hook", "")
    toolkit = look_at_docker(tmp_path)[1]
    assert "has not been told" in toolkit.found
    assert toolkit.fix.count("\n") == 0
    assert "nvidia-ctk runtime configure" in toolkit.fix


@pytest.mark.parametrize(
    "more",
    [
        '"Runtimes": {"nvidia": {}, "runc": {}}',
        '"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]',
    ],
)
def test_a_toolkit_that_is_there_is_well(path, tmp_path, more):
    programs.docker(path, f'{{"ServerVersion": "28.3.0", {more}}}')
    assert look_at_docker(tmp_path)[1].status is Status.OK


def test_without_a_gpu_no_toolkit_is_asked_for(path, tmp_path):
    programs.docker(path)
    assert len(look_at_docker(tmp_path, None)) == 1


@pytest.mark.parametrize(
    ("script", "says", "fix"),
    [
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", "Cannot connect", "systemctl"),
        ('echo \'{"ServerErrors": ["permission denied while trying"]}\'', "may not", "usermod"),
        ("echo nonsense", "nonsense", "systemctl"),
    ],
)
def test_an_engine_that_does_not_answer_warns(path, tmp_path, script, says, fix):
    programs.program(path / "docker", script)
    (found,) = look_at_docker(tmp_path)
    assert found.status is Status.WARN
    assert says in found.found
    assert fix in found.fix


@pytest.mark.usefixtures("path")
def test_without_docker_it_is_said_what_cannot_be_seen(tmp_path):
    assert look_at_docker(tmp_path)[0].found == "no docker on PATH; `llmzoo up` needs none"
    (inside,) = look_at_docker(tmp_path, in_container=True)
    assert inside.status is Status.OK
    assert "on the host" in inside.found
    assert list(docker_looks.compose(tmp_path)) == []


@pytest.mark.parametrize(
    ("version", "file", "status"),
    [
        ("2.30.0", OLD_FORM, Status.OK),
        ("v5.6.1", OLD_FORM, Status.OK),
        ("2.29.7", OLD_FORM, Status.FAIL),
        ("v2.9.0", "name: llmzoo\n", Status.WARN),
    ],
)
def test_a_compose_that_does_not_know_gpus_is_told(path, tmp_path, version, file, status):
    programs.docker(path, compose=version)
    (tmp_path / "docker-compose.yml").write_text(file)
    (found,) = docker_looks.compose(tmp_path)
    assert found.status is status
    assert version.removeprefix("v") in found.found
    assert ("which 2.30 brought" in found.found) == (status is not Status.OK)


def test_a_docker_without_compose_warns(path, tmp_path):
    programs.program(
        path / "docker", "echo \"docker: 'compose' is not a docker command\" >&2; exit 1"
    )
    (found,) = docker_looks.compose(tmp_path)
    assert found.status is Status.WARN
    assert "docker-compose-plugin" in found.fix
