"""The header of a safetensors file: eight bytes of length, JSON, then the data without holes.

Owns that format (huggingface/safetensors, README, "Format") and its refusals. The library cannot
stand in: it writes only from a whole dictionary in memory, and names neither file nor tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from shared.compression.checkpoint.tensors import CODES, DTYPES, TensorInfo, TensorSpec
from shared.errors import CheckpointDamaged, ModelNotSupported

_LENGTH_BYTES = 8
_MAX_HEADER = 100_000_000  # the library's own bound
_ALIGNMENT = 8
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says of itself; `tensors` in the order of their data."""

    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]


def read_header(file: Path) -> Header:
    """Return the header of `file`; its data is not read, but must be there to the last byte.

    Raises:
        CheckpointDamaged: missing, unreadable, cut short, or at odds with itself.
        ModelNotSupported: a dtype that torch does not have.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if size < _LENGTH_BYTES or length > min(size - _LENGTH_BYTES, _MAX_HEADER):
                raise CheckpointDamaged("the header is cut short or no header", file=file)
            text = stream.read(length)
        content: object = orjson.loads(text)
    except OSError as fault:
        raise CheckpointDamaged(f"cannot be read: {fault.strerror}", file=file) from fault
    except orjson.JSONDecodeError as fault:
        raise CheckpointDamaged("the header is no JSON", file=file) from fault
    if not isinstance(content, dict):
        raise CheckpointDamaged("the header is no JSON object", file=file)
    entries = cast("dict[str, Any]", content)
    metadata: Any = entries.pop(_METADATA, None)
    if not isinstance(metadata, dict):
        metadata = {}
    begin = _LENGTH_BYTES + length
    tensors = [_entry(file, name, entry, begin) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.nbytes))
    _check_extent(file, tensors, begin, size)
    return Header(tuple(tensors), cast("dict[str, str]", metadata))


def format_header(specs: Iterable[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes before the data of a file that holds `specs` in their order."""
    entries: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    start = 0
    for spec in specs:
        entries[spec.name] = {
            "dtype": CODES[spec.dtype],
            "shape": spec.shape,
            "data_offsets": (start, start + spec.nbytes),
        }
        start += spec.nbytes
    text = orjson.dumps(entries)
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _entry(file: Path, name: str, entry: Any, begin: int) -> TensorInfo:
    """Return one tensor of the header, its shape and extent checked against each other."""
    try:
        code, shape = entry["dtype"], tuple(entry["shape"])
        start, end = entry["data_offsets"]
        numbers = (*shape, start, end)
        sane = all(isinstance(number, int) and number >= 0 for number in numbers)
    except (KeyError, TypeError, ValueError):
        sane, code, shape, start, end = False, "", (), 0, 0
    if not sane or not isinstance(code, str):
        raise CheckpointDamaged("the header's entry is malformed", file=file, tensor=name)
    if code not in DTYPES:
        raise ModelNotSupported(f"{file} ({name}): the dtype {code} is not supported")
    dtype = DTYPES[code]
    if math.prod(shape) * dtype.itemsize != end - start:
        raise CheckpointDamaged(
            f"{end - start} bytes of data for {code} {list(shape)}", file=file, tensor=name
        )
    return TensorInfo(name, shape, dtype, file, begin + start)


def _check_extent(file: Path, tensors: list[TensorInfo], begin: int, size: int) -> None:
    """Raise CheckpointDamaged where the data has holes, overlaps, or ends elsewhere than it must."""
    position = begin
    for tensor in tensors:
        if tensor.start != position:
            raise CheckpointDamaged(
                "the data does not begin where its predecessor ends", file=file, tensor=tensor.name
            )
        position += tensor.nbytes
        if position > size:
            raise CheckpointDamaged(
                f"the file is cut short: {size} bytes of at least {position}",
                file=file,
                tensor=tensor.name,
            )
    if position != size:
        raise CheckpointDamaged(f"{size - position} bytes after the last tensor", file=file)
