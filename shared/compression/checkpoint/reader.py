"""A safetensors folder, read one tensor at a time.

Owns the way from a tensor's name to its data. Knows neither models nor configurations: which
tensors a model needs is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from shared.compression.checkpoint.header import Header, read_header
from shared.compression.checkpoint.tensors import TensorInfo, buffer_of
from shared.compression.checkpoint.vocabulary import missing_head
from shared.errors import CheckpointDamaged
from shared.model_folder import (
    CONFIG,
    MODEL,
    index_name,
    read_json,
    read_weight_map,
)


class CheckpointReader:
    """A model folder: `model.safetensors`, or shards with `model.safetensors.index.json`.

    Its headers are read and checked at once, its data when asked for. Safe to use from threads.
    """

    def __init__(self, folder: Path, stem: str = MODEL) -> None:
        """Read the headers; `stem` begins the shards' names.

        Raises:
            ModelNotThere, ModelNotSupported: the folder is no safetensors model.
            CheckpointDamaged: a shard is missing, cut short or malformed, or the index names a
                tensor that its shard does not hold.
        """
        self.folder = folder
        self._stem = stem
        self.shards: tuple[Path, ...]  # in the order of their names
        self.metadata: dict[str, str] = {}  # of all shards together
        self._tensors = self._read_headers()

    @property
    def names(self) -> list[str]:
        """Return the names of all tensors, in the order of their data."""
        return list(self._tensors)

    @property
    def total_bytes(self) -> int:
        """Return the size of all tensors' data."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def __contains__(self, name: str) -> bool:
        """Return whether there is such a tensor."""
        return name in self._tensors

    def __iter__(self) -> Iterator[TensorInfo]:
        """Yield every tensor's info, in the order of their data."""
        return iter(self._tensors.values())

    @property
    def tied(self) -> dict[str, str]:
        """Return the output head that is the input embedding, as {head: embedding}, or nothing.

        Tied weights are stored once: a causal model that stores no head has its embedding for one,
        unless its config denies it.
        """
        if self.config().get("tie_word_embeddings") is False:
            return {}
        return missing_head(self._tensors)

    def config(self) -> dict[str, object]:
        """Return the content of config.json.

        Raises:
            CheckpointDamaged: it is no JSON object.
        """
        return {**read_json(self.folder / CONFIG)}

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor without its data.

        Raises:
            CheckpointDamaged: there is no such tensor.
        """
        if name not in self._tensors:
            raise CheckpointDamaged("the tensor is missing", file=self.folder, tensor=name)
        return self._tensors[name]

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor in memory of its own, on the CPU, in the file's shape and dtype.

        Raises:
            CheckpointDamaged: there is no such tensor, or its file has changed and ends early.
        """
        info = self.info(name)
        tensor = torch.empty(info.shape, dtype=info.dtype)
        # Not mapped: a mapped file that is cut short ends the process, and its pages count as ours.
        buffer = buffer_of(tensor)
        try:
            with info.file.open("rb", buffering=0) as stream:
                stream.seek(info.start)
                done = 0
                while done < info.nbytes and (read := stream.readinto(buffer[done:])):
                    done += read
        except OSError as fault:
            reason = f"cannot be read: {fault.strerror}"
            raise CheckpointDamaged(reason, file=info.file, tensor=name) from fault
        if done < info.nbytes:
            raise CheckpointDamaged("the file is cut short", file=info.file, tensor=name)
        return tensor

    def _read_headers(self) -> dict[str, TensorInfo]:
        weight_map = read_weight_map(self.folder, self._stem)
        names = set(weight_map.values()) if weight_map else {f"{self._stem}.safetensors"}
        self.shards = tuple(self.folder / name for name in sorted(names))
        headers = {shard.name: self._read_header(shard) for shard in self.shards}
        tensors: dict[str, TensorInfo] = {}
        for shard, header in headers.items():
            self.metadata |= header.metadata
            for tensor in header.tensors:
                # A shard may hold what the index gives to another one; the index decides.
                if weight_map is None or weight_map.get(tensor.name) == shard:
                    tensors[tensor.name] = tensor
        for name, shard in (weight_map or {}).items():
            if name not in tensors:
                raise CheckpointDamaged(
                    f"the tensor that {index_name(self._stem)} promises is missing",
                    file=self.folder / shard,
                    tensor=name,
                )
        return tensors

    def _read_header(self, shard: Path) -> Header:
        if not shard.is_file():
            raise CheckpointDamaged("the shard is missing", file=shard)
        return read_header(shard)
