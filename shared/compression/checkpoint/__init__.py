"""Folders of safetensors: read tensor by tensor, written whole or not at all."""

from shared.compression.checkpoint.checksums import CHECKSUMS, verify
from shared.compression.checkpoint.reader import CheckpointReader
from shared.compression.checkpoint.tensors import TensorInfo, TensorSpec
from shared.compression.checkpoint.writer import CheckpointWriter

__all__ = [
    "CHECKSUMS",
    "CheckpointReader",
    "CheckpointWriter",
    "TensorInfo",
    "TensorSpec",
    "verify",
]
