"""How much memory it takes to pack a model: never the whole of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

pytestmark = pytest.mark.torch

# Prints what was in memory at most, beyond what it took to be ready, in bytes.
PACK = """
import json, re, sys
from pathlib import Path
import torch
from shared.compression import PackedLinear, Scheme
from shared.compression.packed_folder import compress_folder
from shared.compression.packed_model import load_packed
def status(name):
    return int(re.search(rf"{name}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
torch.set_num_threads(1)
warm, source, target, scheme = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Scheme("int8")
load_packed(warm, scheme)
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
if target:
    packed = compress_folder(source, Path(target), scheme).bytes_after
else:
    model = load_packed(source, scheme)
    parts = [part.nbytes for part in model.modules() if isinstance(part, PackedLinear)]
    packed = sum(parts) + sum(parameter.nbytes for parameter in model.parameters())
print(json.dumps({"growth": status("VmHWM") - before, "packed": packed}))
"""


def save(folder, *, hidden, layers):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="60MB")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny one to warm up with, and one of 83 million weights."""
    folder = tmp_path_factory.mktemp("models")
    return save(folder / "tiny", hidden=64, layers=1), save(folder / "large", hidden=1024, layers=6)


@pytest.mark.parametrize("way", ["loaded", "written"])
def test_the_peak_is_the_packed_model_and_one_shard(models, tmp_path, way):
    tiny, large = models
    target = str(tmp_path / "small") if way == "written" else ""
    told = subprocess.run(
        [sys.executable, "-c", PACK, str(tiny), str(large), target],
        check=True,
        capture_output=True,
        text=True,
    )
    measured = json.loads(told.stdout)
    shards = [file.stat().st_size for file in large.glob("*.safetensors")]
    print(measured, "largest shard", max(shards), "of", sum(shards))
    assert len(shards) > 4
    assert measured["packed"] < 0.3 * sum(shards)
    assert measured["growth"] <= 1.1 * (measured["packed"] + max(shards))
