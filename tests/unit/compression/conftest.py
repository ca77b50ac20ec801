"""Two tiny models and what lies between them."""

import pytest

from shared.compression.deltas import make_delta
from tests.fakes.random_checkpoints import llama, save, tuned


@pytest.fixture
def base(tmp_path):
    return save(llama(), tmp_path / "base")


@pytest.fixture
def target(tmp_path):
    return save(tuned(llama()), tmp_path / "target")


@pytest.fixture
def delta(base, target, tmp_path):
    make_delta(base, target, tmp_path / "delta")
    return tmp_path / "delta"
