"""A model folder made smaller: every Linear's weight is stored as codes and scales.

Owns the way from one folder to the other, tensor by tensor, and the report of what it cost. The
result is a folder of safetensors like any other: a packed layer's tensors stand under its name,
and config.json says which layers are packed and how.
"""
# pyright: basic
# Torch and transformers are partly untyped.

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import torch

from shared.compression.checkpoint import CheckpointReader, CheckpointWriter, TensorInfo, TensorSpec
from shared.compression.checkpoint.identity import identity_of
from shared.compression.checkpoint.partial import Note
from shared.compression.compress_module import is_transposed
from shared.compression.packing import Packing, quantisation_of
from shared.compression.scheme import Scheme
from shared.compression.skeleton import Names, make_skeleton, packable, read_config
from shared.compression.stored_weight import quantise, tensor_specs
from shared.compression.weight_errors import group_256_error, relative_error
from shared.errors import ConfigurationError
from shared.model_folder import CONFIG
from shared.progress import Report, report_nothing

REPORT = "compression.json"
_ERROR, _GROUP_256_ERROR = "relative_error", "group_256_error"
# Each holds a tensor, so more would cost memory; what they work on is the same for any number.
_MAX_WORKERS = 4
_INDENTED = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """One layer.

    Attributes:
        name: as the model has it.
        shape: (out, in).
        bytes_before: of the weight.
        bytes_after: of codes, scales and zeros.
        relative_error: |stored - weight| / |weight|, Frobenius norms.
        group_256_error: the same of LLMZoo's storage form, 8 bits in groups of 256, to compare
            with; None where the layer has 4 bits.
    """

    name: str
    shape: tuple[int, int]
    bytes_before: int
    bytes_after: int
    relative_error: float
    group_256_error: float | None = None


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What became of a model; the bytes are of all its tensors."""

    folder: Path
    scheme: Scheme
    bytes_before: int
    bytes_after: int
    layers: tuple[PackedLayer, ...]


def compress_folder(
    source: Path,
    target: Path,
    scheme: Scheme,
    *,
    skip: Iterable[str] = (),
    leave_out: Container[str] = (),
    trust_remote_code: bool = False,
    report: Report = report_nothing,
) -> FolderReport:
    """Write `source`, packed, to the new folder `target`.

    A killed call leaves no target; the next one goes on with the shards that were whole.

    Args:
        source: a model folder of safetensors.
        target: must not exist.
        scheme: of every packed layer.
        skip: patterns of layers that stay as they are, such as `lm_head`; a head that is tied to
            the embedding always does.
        leave_out: names of files beside the weights that are not copied.
        trust_remote_code: run Python code that comes with the model.
        report: called with bytes read and bytes in all.

    Raises:
        CheckpointFault: of one of its kinds; file and tensor are named.
        ModelNotSupported: transformers cannot make a causal language model of it.
        WeightNotFinite: a weight holds NaN or infinity.
        ConfigurationError: it is quantised already.
    """
    reader = CheckpointReader(source)
    method = quantisation_of(reader.config())
    if method:
        raise ConfigurationError(f"{source} is quantised already ({method})")
    patterns = tuple(skip)
    plan = _Plan(reader, scheme, patterns, trust_remote_code=trust_remote_code)
    writer = CheckpointWriter(
        target,
        plan.specs(),
        companions_of=source,
        leave_out=leave_out,
        identity=plan.identity(source, patterns),
    )
    with writer:
        total = reader.total_bytes
        config = orjson.dumps(plan.packing.config(reader.config()), option=_INDENTED)
        writer.add_file(CONFIG, config)
        for done in _pump(plan, reader, writer):
            report(done, total)
        result = FolderReport(target, scheme, total, writer.total_bytes, plan.layers(writer))
        writer.add_file(REPORT, orjson.dumps(asdict(result), default=str, option=_INDENTED))
    return result


def _pump(plan: _Plan, reader: CheckpointReader, writer: CheckpointWriter) -> Iterator[int]:
    """Read, pack and write every tensor that is not written yet; yield the bytes that are done.

    Each worker takes a tensor all the way, so that reading, computing and hashing overlap and no
    worker waits for another. As many tensors as there are workers are in memory.
    """
    pending = set(writer.pending)
    todo = [info for info in reader if any(spec.name in pending for spec in plan.specs_of(info))]
    done = reader.total_bytes - sum(info.nbytes for info in todo)

    def work(info: TensorInfo) -> int:
        plan.pack(info.name, reader.tensor(info.name)).write(writer)
        return info.nbytes

    with _workers() as workers:
        for nbytes in workers.map(work, todo):
            done += nbytes
            yield done


@contextmanager
def _workers() -> Generator[ThreadPoolExecutor]:
    """Share the cores out among threads; an exception leaves what no thread has begun undone."""
    cores = torch.get_num_threads()
    count = min(_MAX_WORKERS, cores)
    workers = ThreadPoolExecutor(count)
    torch.set_num_threads(cores // count)
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)


@dataclass(frozen=True, slots=True)
class _Packed:
    """What one tensor of the source became; `note` belongs to the first of `tensors`."""

    tensors: dict[str, torch.Tensor]
    note: Note | None = None

    def write(self, writer: CheckpointWriter) -> None:
        """Write all that an earlier attempt has not written."""
        pending = set(writer.pending)
        for index, (name, tensor) in enumerate(self.tensors.items()):
            if name in pending:
                writer.write(name, tensor, None if index else self.note)


class _Plan:
    """What becomes of each tensor of the source."""

    def __init__(
        self,
        reader: CheckpointReader,
        scheme: Scheme,
        skip: tuple[str, ...],
        *,
        trust_remote_code: bool,
    ) -> None:
        config = read_config(reader.folder, trust_remote_code=trust_remote_code)
        model = make_skeleton(config, torch.float32, trust_remote_code=trust_remote_code)
        layers = frozenset(packable(model, skip))
        names = Names(model)
        self._reader = reader
        self._scheme = scheme
        self._layer_of = {
            info.name: place[0]
            for info in reader
            if (place := names.layer(info.name, layers)) and place[1] == "weight"
        }
        self.packing = Packing(scheme, frozenset(self._layer_of.values()))
        self._transposed = {
            layer for layer in self.packing.layers if is_transposed(model.get_submodule(layer))
        }

    def identity(self, source: Path, skip: tuple[str, ...]) -> str:
        """Return what decides the content of the target."""
        return identity_of(f"compress {self._scheme} {skip} {source}", self._reader)

    def specs(self) -> list[TensorSpec]:
        """Return every tensor of the target, in the order of the source."""
        return [spec for info in self._reader for spec in self.specs_of(info)]

    def pack(self, name: str, tensor: torch.Tensor) -> _Packed:
        """Return what the tensor `name` becomes."""
        layer = self._layer_of.get(name)
        if layer is None:
            return _Packed({name: tensor})
        weight = tensor.t() if layer in self._transposed else tensor
        stored = quantise(weight, self._scheme, name=name)
        note = {_ERROR: repr(relative_error(weight, stored.values))}
        if self._scheme.kind == "int8":
            note[_GROUP_256_ERROR] = repr(group_256_error(weight))
        tensors = {_part(name, part): tensor for part, tensor in stored.tensors().items()}
        return _Packed(tensors, note)

    def layers(self, writer: CheckpointWriter) -> tuple[PackedLayer, ...]:
        """Return the report of every packed layer."""
        return tuple(self._report(name, writer) for name in self._layer_of)

    def _report(self, name: str, writer: CheckpointWriter) -> PackedLayer:
        rows, columns = self._shape(name)
        specs = self.specs_of(self._reader.info(name))
        note = writer.notes[_part(name, "weight")]
        return PackedLayer(
            self._layer_of[name],
            (rows, columns),
            self._reader.info(name).nbytes,
            sum(spec.nbytes for spec in specs),
            float(note[_ERROR]),
            float(note[_GROUP_256_ERROR]) if _GROUP_256_ERROR in note else None,
        )

    def specs_of(self, info: TensorInfo) -> list[TensorSpec]:
        """Return the tensors that one of the source becomes."""
        if info.name not in self._layer_of:
            return [TensorSpec(info.name, info.shape, info.dtype)]
        parts = tensor_specs(self._scheme, self._shape(info.name))
        return [
            TensorSpec(_part(info.name, part), shape, dtype)
            for part, (shape, dtype) in parts.items()
        ]

    def _shape(self, name: str) -> tuple[int, int]:
        rows, columns = self._reader.info(name).shape
        return (columns, rows) if self._layer_of[name] in self._transposed else (rows, columns)


def _part(name: str, part: str) -> str:
    """Return the name of a packed layer's tensor; the codes keep the weight's own."""
    return f"{name.removesuffix('weight')}{part}"
