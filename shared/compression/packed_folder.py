"""A model folder made smaller: every Linear's weight is stored as codes and scales.

Owns the way from one folder to the other, tensor by tensor, and the report of what it cost. The
result is a folder of safetensors like any other: a packed layer's tensors stand under its name,
and config.json says which layers are packed and how.
"""
# pyright: basic
# Torch and transformers are partly untyped.

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import torch

from shared.compression.checkpoint import CheckpointReader, CheckpointWriter, TensorSpec
from shared.compression.checkpoint.folder import CONFIG
from shared.compression.checkpoint.partial import Note
from shared.compression.compress_module import _is_transposed as is_transposed
from shared.compression.deltas.identity import identity_of
from shared.compression.packing import Packing, quantisation_of
from shared.compression.scheme import Scheme
from shared.compression.skeleton import Names, make_skeleton, packable, read_config
from shared.compression.stored_weight import quantise, tensor_specs
from shared.compression.weight_errors import relative_error
from shared.errors import ConfigurationError

REPORT = "compression.json"
_ERROR = "relative_error"
_INDENTED = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """One layer; `relative_error` is |stored - weight| / |weight|, Frobenius norms."""

    name: str
    shape: tuple[int, int]
    bytes_before: int
    bytes_after: int
    relative_error: float


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
    trust_remote_code: bool = False,
    report: Report = lambda _done, _total: None,
) -> FolderReport:
    """Write `source`, packed, to the new folder `target`.

    A killed call leaves no target; the next one goes on with the shards that were whole.

    Args:
        source: a model folder of safetensors.
        target: must not exist.
        scheme: of every packed layer.
        skip: patterns of layers that stay as they are, such as `lm_head`; a head that is tied to
            the embedding always does.
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
        target, plan.specs(), companions_of=source, identity=plan.identity(source, patterns)
    )
    with writer:
        config = orjson.dumps(plan.packing.config(reader.config()), option=_INDENTED)
        writer.add_file(CONFIG, config)
        done, total = 0, reader.total_bytes
        for info in reader:
            plan.write(info.name, writer)
            done += info.nbytes
            report(done, total)
        result = FolderReport(target, scheme, total, writer.total_bytes, plan.layers(writer))
        writer.add_file(REPORT, orjson.dumps(asdict(result), default=str, option=_INDENTED))
    return result


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
        return [spec for info in self._reader for spec in self._specs_of(info.name)]

    def write(self, name: str, writer: CheckpointWriter) -> None:
        """Write what the tensor `name` becomes, unless an earlier attempt has."""
        specs = self._specs_of(name)
        if not set(writer.pending) & {spec.name for spec in specs}:
            return
        tensor = self._reader.tensor(name)
        layer = self._layer_of.get(name)
        if layer is None:
            writer.write(name, tensor)
            return
        weight = tensor.t() if layer in self._transposed else tensor
        stored = quantise(weight, self._scheme, name=name)
        note: Note = {_ERROR: repr(relative_error(weight, stored.values))}
        for part, stored_tensor in stored.tensors().items():
            writer.write(_part(name, part), stored_tensor, note if part == "weight" else None)

    def layers(self, writer: CheckpointWriter) -> tuple[PackedLayer, ...]:
        """Return the report of every packed layer."""
        return tuple(self._report(name, writer) for name in self._layer_of)

    def _report(self, name: str, writer: CheckpointWriter) -> PackedLayer:
        rows, columns = self._shape(name)
        specs = self._specs_of(name)
        error = float(writer.notes[_part(name, "weight")][_ERROR])
        return PackedLayer(
            self._layer_of[name],
            (rows, columns),
            self._reader.info(name).nbytes,
            sum(spec.nbytes for spec in specs),
            error,
        )

    def _specs_of(self, name: str) -> list[TensorSpec]:
        info = self._reader.info(name)
        if name not in self._layer_of:
            return [TensorSpec(name, info.shape, info.dtype)]
        return [
            TensorSpec(_part(name, part), shape, dtype)
            for part, (shape, dtype) in tensor_specs(self._scheme, self._shape(name)).items()
        ]

    def _shape(self, name: str) -> tuple[int, int]:
        rows, columns = self._reader.info(name).shape
        return (columns, rows) if self._layer_of[name] in self._transposed else (rows, columns)


def _part(name: str, part: str) -> str:
    """Return the name of a packed layer's tensor; the codes keep the weight's own."""
    return f"{name.removesuffix('weight')}{part}"
