"""A model is saved whole or not at all, also when its process is killed."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from shared.compression.checkpoint import CheckpointReader, verify
from shared.compression.checkpoint.exchange import exchange, in_two_steps
from shared.compression.saving import safe_save
from shared.errors import CheckpointExists
from tests.fakes.command_line import clean_environment
from tests.fakes.model_files import save_folder, tiny_llama
from tests.fakes.random_checkpoints import bloom, llama, names_in, same_weights, save

pytestmark = pytest.mark.torch

# Saves a model with a tokenizer that says so when it is asked to save itself, and waits.
HALTING = """
import signal, sys
from pathlib import Path
from shared.compression.saving import safe_save
from tests.fakes.random_checkpoints import llama

class Halting:
    def save_pretrained(self, folder):
        print("halted", sorted(path.name for path in Path(folder).iterdir()), flush=True)
        signal.pause()

safe_save(llama(seed=3), Path(sys.argv[1]), Halting(), overwrite=True)
"""


def loaded_equals(folder, model):
    loaded = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    return all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("size", ["12KB", "2GB"])
@pytest.mark.parametrize(
    "make", [llama, bloom, lambda: llama(tied=True), lambda: llama(dtype=torch.bfloat16)]
)
def test_transformers_loads_what_was_saved(tmp_path, make, size):
    model = make()
    safe_save(model, tmp_path / "out", max_shard_size=size)
    assert loaded_equals(tmp_path / "out", model)
    assert names_in(tmp_path) == ["out"]
    verify(tmp_path / "out")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes <= {0o644}


def test_tied_weights_are_saved_once(tmp_path):
    for name, model in (("llama", llama(tied=True)), ("bloom", bloom())):
        safe_save(model, tmp_path / name)
        reader = CheckpointReader(tmp_path / name)
        assert "lm_head.weight" not in reader
        assert reader.tied.keys() == {"lm_head.weight"}


def test_a_tokenizer_travels(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(save_folder(tiny_llama(), tmp_path / "with"))
    safe_save(tiny_llama(), tmp_path / "out", tokenizer)
    found = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert found("abc").input_ids == tokenizer("abc").input_ids
    assert found.chat_template == tokenizer.chat_template


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_never_replaced(tmp_path, overwrite):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(CheckpointExists) as fault:
        safe_save(llama(), tmp_path / "out", overwrite=overwrite)
    assert fault.value.file == tmp_path / "out"
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_is_replaced_when_asked(tmp_path):
    out = save(bloom(), tmp_path / "out")
    with pytest.raises(CheckpointExists):
        safe_save(llama(), out)
    safe_save(llama(), out, overwrite=True)
    assert loaded_equals(out, llama())
    assert names_in(tmp_path) == ["out"]
    verify(out)


@pytest.mark.parametrize("before", [False, True])
def test_a_killed_save_leaves_what_was_there(tmp_path, before):
    out = tmp_path / "out"
    if before:
        safe_save(llama(), out)
    with subprocess.Popen(
        [sys.executable, "-c", HALTING, str(out)],
        stdout=subprocess.PIPE,
        env=clean_environment(OMP_NUM_THREADS="1"),
    ) as process:
        assert process.stdout is not None
        assert b"halted" in (told := process.stdout.readline())
        assert b"model.safetensors" in told  # it was in the middle of it
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert out.exists() == before
    if before:
        assert loaded_equals(out, llama())
        verify(out)
    safe_save(bloom(), out, overwrite=True)
    assert loaded_equals(out, bloom())
    assert names_in(tmp_path) == ["out"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    limits = (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    program = (
        "import sys; from pathlib import Path\n"
        "from shared.compression.saving import safe_save\n"
        "from shared.errors import CheckpointNotWritten\n"
        "from tests.fakes.random_checkpoints import llama\n"
        "try: safe_save(llama(), Path(sys.argv[1]))\n"
        "except CheckpointNotWritten as fault: print(fault)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(OMP_NUM_THREADS="1"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )
    assert f"{tmp_path / 'out'}: cannot be written" in done.stdout
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("swap", [exchange, in_two_steps])
def test_two_folders_change_names(tmp_path, swap):
    one, other = save(llama(), tmp_path / "one"), save(llama(seed=1), tmp_path / "other")
    first, second = save(llama(), tmp_path / "first"), save(llama(seed=1), tmp_path / "second")
    swap(one, other)
    assert same_weights(one, second)
    assert same_weights(other, first)
    assert names_in(tmp_path) == ["first", "one", "other", "second"]
