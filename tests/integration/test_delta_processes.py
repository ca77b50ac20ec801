"""`llmzoo delta` as a process: kills, full disks, exit codes, and what it shows."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
import torch

from shared.compression.checkpoint import CheckpointReader, verify
from shared.compression.deltas import apply_delta, make_delta
from shared.errors import CheckpointNotWritten
from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.random_checkpoints import (
    bloom,
    llama,
    names_in,
    refused,
    same_weights,
    save,
    tuned,
)
from tests.fakes.terminal_process import CTRL_C, TerminalProcess

pytestmark = pytest.mark.torch

MAX_SHARD = 12_000
# Runs until so many tensors are written, says so, and waits for its end.
HALTING = """
import signal, sys
from pathlib import Path
from shared.compression.deltas import apply_delta, make_delta

task, tensors, *folders = sys.argv[1:]
events = 0

def report(done, total):
    global events
    events += 1
    if events > int(tensors):
        print("halted", flush=True)
        signal.pause()

task = {"make": make_delta, "apply": apply_delta}[task]
task(*map(Path, folders), report, max_shard_bytes=12_000)
"""


def run(*arguments, **options):
    return subprocess.run(
        [*LLMZOO, "delta", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(OMP_NUM_THREADS="1"),
        timeout=120,
        **options,
    )


def make(base, target, out, *more, **options):
    return run("make", "--base", base, "--target", target, "--out", out, *more, **options)


def apply(base, delta, out, *more, **options):
    return run("apply", "--base", base, "--delta", delta, "--out", out, *more, **options)


def killed_at(task, tensors, *folders):
    """Start a task on folders and end it with SIGKILL when so many tensors are written."""
    with subprocess.Popen(
        [sys.executable, "-c", HALTING, task, str(tensors), *map(str, folders)],
        stdout=subprocess.PIPE,
        env=clean_environment(OMP_NUM_THREADS="1"),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"halted\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL


def base_and_target(maker, place, seed=1):
    """Return a model, and one that was trained from it and has a token more."""
    base = save(maker(), place / "base")
    return base, save(tuned(maker(rows=41), seed), place / "target")


@pytest.fixture
def folders(tmp_path):
    return base_and_target(llama, tmp_path)


@pytest.fixture
def delta(folders, tmp_path):
    make_delta(*folders, tmp_path / "delta")
    return tmp_path / "delta"


@pytest.mark.parametrize("maker", [llama, bloom])
def test_there_and_back(tmp_path, maker):
    base, target = base_and_target(maker, tmp_path)
    made = make(base, target, tmp_path / "delta")
    assert (made.returncode, made.stdout.count("\n")) == (0, 1)
    assert str(tmp_path / "delta") in made.stdout
    assert "saving 100 %" in made.stderr
    assert "\x1b" not in made.stderr
    applied = apply(base, tmp_path / "delta", tmp_path / "out", "--json")
    assert applied.returncode == 0
    assert json.loads(applied.stdout) == {
        "folder": str(tmp_path / "out"),
        "format": "llmzoo-delta 1",
        "tensors": len(CheckpointReader(target).names),
        "bytes": CheckpointReader(target).total_bytes,
    }
    assert same_weights(tmp_path / "out", target)
    assert names_in(tmp_path) == ["base", "delta", "out", "target"]


def test_a_terminal_sees_bytes(tmp_path, folders):
    base, target = folders
    command = ["delta", "make", "--base", base, "--target", target, "--out", tmp_path / "delta"]
    with TerminalProcess([*LLMZOO, *map(str, command)], clean_environment()) as terminal:
        terminal.expect("saving")
        terminal.expect("kB")
        assert terminal.ends() == 0


@pytest.mark.parametrize("tensors", [0, 8, 1000])
@pytest.mark.parametrize("task", ["make", "apply"])
def test_a_kill_leaves_no_target_and_the_next_run_goes_on(tmp_path, folders, task, tensors):
    base, target = folders
    make_delta(base, target, tmp_path / "delta")
    other = {"make": target, "apply": tmp_path / "delta"}[task]
    count = min(tensors, len(CheckpointReader(target).names))
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    killed_at(task, count, base, other, out)
    assert not out.exists()
    journal = (partial / ".journal.jsonl").read_text().splitlines()[1:]
    whole = [json.loads(line)["file"] for line in journal]
    assert count < 8 or whole
    inodes = {name: (partial / name).stat().st_ino for name in whole}

    do = {"make": make_delta, "apply": apply_delta}[task]
    told = []
    do(base, other, out, lambda *event: told.append(event), max_shard_bytes=MAX_SHARD)
    assert (told[0][0] > 0) == bool(whole)
    assert inodes == {name: (out / name).stat().st_ino for name in whole}
    verify(out)
    assert not partial.exists()
    if task == "make":
        apply_delta(base, out, tmp_path / "model")
        out = tmp_path / "model"
    assert same_weights(out, target)


def test_a_kill_is_not_taken_up_for_other_models(tmp_path, folders):
    base, target = folders
    killed_at("make", 8, base, target, tmp_path / "out")
    shutil.rmtree(target)
    save(tuned(llama(rows=41), seed=5), target)
    make_delta(base, target, tmp_path / "out", max_shard_bytes=MAX_SHARD)
    apply_delta(base, tmp_path / "out", tmp_path / "model")
    assert same_weights(tmp_path / "model", target)


def test_two_at_once(tmp_path, folders):
    base, target = folders
    with subprocess.Popen(
        [sys.executable, "-c", HALTING, "make", "3", *map(str, (base, target, tmp_path / "out"))],
        stdout=subprocess.PIPE,
        env=clean_environment(OMP_NUM_THREADS="1"),
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        second = make(base, target, tmp_path / "out")
        first.kill()
    assert second.returncode == 1
    assert "another process is writing it" in second.stderr


def test_after_ctrl_c_the_command_goes_on(tmp_path, folders):
    base, target = folders
    with TerminalProcess(
        [sys.executable, "-c", HALTING, "make", "8", *map(str, (base, target, tmp_path / "out"))],
        clean_environment(OMP_NUM_THREADS="1"),
    ) as terminal:
        terminal.expect("halted")
        terminal.press(CTRL_C)
        assert terminal.ends() != 0
    assert (tmp_path / ".out.partial" / ".journal.jsonl").is_file()
    assert make(base, target, tmp_path / "out", "--max-shard-bytes", MAX_SHARD).returncode == 0


@pytest.mark.parametrize("task", ["make", "apply"])
def test_a_file_that_may_not_grow(tmp_path, folders, delta, task):
    """The kernel refuses writes beyond a limit, as a full disk does."""
    base, target = folders
    out = tmp_path / "out"
    command, other = {"make": (make, target), "apply": (apply, delta)}[task]
    limits = (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    done = command(
        base, other, out, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    )
    assert done.returncode == 1
    name = "delta.safetensors" if task == "make" else "model.safetensors"
    assert f".out.partial/{name} (" in done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert names_in(tmp_path) == ["base", "delta", "target"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB of memory."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place],
        check=False,
        capture_output=True,
    ).returncode:
        pytest.skip("mounting is not permitted here")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("task", ["make", "apply"])
def test_a_disk_that_fills_up(small_disk, folders, delta, task):
    base, target = folders
    do, other = {"make": (make_delta, target), "apply": (apply_delta, delta)}[task]

    def fill(done, total):
        if done > total // 2:
            filler = small_disk / "filler"
            with suppress(OSError), filler.open("ab", buffering=0) as stream:
                while True:
                    stream.write(bytes(4096))

    with pytest.raises(CheckpointNotWritten, match="No space left") as fault:
        do(base, other, small_disk / "out", fill)
    assert fault.value.tensor in CheckpointReader(target)
    assert fault.value.file.parent == small_disk / ".out.partial"
    assert names_in(small_disk) == ["filler"]


def test_a_disk_that_is_too_small_from_the_start(small_disk, folders):
    (small_disk / "filler").write_bytes(bytes(380_000))
    fault = refused(CheckpointNotWritten, make_delta, *folders, small_disk / "out", says="needs")
    assert fault.file == small_disk / "out"


def test_failures_are_one_line_with_exit_code_1(tmp_path, folders, delta):
    base, target = folders
    cases = [
        (make(base, target, delta), "is there already"),
        (apply(target, delta, tmp_path / "out"), "the delta was made from"),
    ]
    for done, says in cases:
        assert done.returncode == 1
        assert done.stdout == ""
        told = done.stderr.splitlines()[-1]
        assert told.startswith("llmzoo: ")
        assert says in told
        assert "Traceback" not in done.stderr
    assert names_in(tmp_path) == ["base", "delta", "target"]


def test_an_additive_delta_is_named_as_such(tmp_path):
    base = save(llama(dtype=torch.float16), tmp_path / "base")
    done = apply(base, base, tmp_path / "out")
    assert done.returncode == 0
    assert "has no delta.json: it was added to the base" in done.stderr


def test_options_that_are_missing_are_exit_code_2():
    assert run("apply", "--base", "x").returncode == 2
