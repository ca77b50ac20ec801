"""Programs that a test puts on PATH: short shell scripts that say what they are told to."""

from __future__ import annotations

from pathlib import Path

GPUS = "NVIDIA A100, 81920, 80000, {driver}"
HEAD = "| NVIDIA-SMI {driver}   Driver Version: {driver}   CUDA Version: {cuda} |"
ENGINE = '{"ServerVersion": "28.0.1", "Runtimes": {"runc": {}}}'


def program(path: Path, script: str) -> Path:
    """Make an executable of a shell's script."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def nvidia_smi(folder: Path, driver: str = "535.54.03", cuda: str = "12.2") -> Path:
    """Make an `nvidia-smi` that shows one GPU."""
    gpus, head = (text.format(driver=driver, cuda=cuda) for text in (GPUS, HEAD))
    script = f"case \"$*\" in *query-gpu*) echo '{gpus}';; *) echo '{head}';; esac"
    return program(folder / "nvidia-smi", script)


def docker(folder: Path, info: str = ENGINE, compose: str = "2.30.1") -> Path:
    """Make a `docker` that tells these facts of its engine, and this version of Compose."""
    script = f"case \"$1\" in info) echo '{info}';; compose) echo '{compose}';; *) exit 1;; esac"
    return program(folder / "docker", script)
