"""A model in memory whose Linears are packed, filled tensor by tensor.

Owns the loading of a compressed folder and of an ordinary one that is packed on the way. One
tensor at a time is in memory in full, so the peak is the packed model and its largest tensor.
"""
# pyright: basic
# Torch and transformers are partly untyped.

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from shared.compression.allocation import returning_memory
from shared.compression.checkpoint import CheckpointReader
from shared.compression.compress_module import is_transposed, weight_rows
from shared.compression.kernels import MemoryBudget
from shared.compression.packed_linear import PackedLinear
from shared.compression.packing import Packing, read_packing
from shared.compression.scheme import Scheme
from shared.compression.skeleton import Names, make_skeleton, packable, read_config
from shared.compression.stored_weight import quantise, stored_from, tensor_specs
from shared.errors import CheckpointMismatch, ConfigurationError, ModelNotSupported
from shared.progress import Report, report_nothing


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model goes, and in what numbers.

    Attributes:
        dtype: of the weights that are not packed and of what flows between layers.
        compute_dtype: in which packed layers compute; None: bfloat16 on a CPU, where torch's
            kernels for packed weights are vectorised for it alone, and `dtype` elsewhere.
        device: of all.
        copy_bytes: for prepacked copies of packed weights, faster in large batches.
    """

    dtype: torch.dtype = torch.float32
    compute_dtype: torch.dtype | None = None
    device: torch.device | str = "cpu"
    copy_bytes: int = 0

    @property
    def packed_dtype(self) -> torch.dtype:
        """Return the dtype in which packed layers compute."""
        on_cpu = torch.device(self.device).type == "cpu"
        return self.compute_dtype or (torch.bfloat16 if on_cpu else self.dtype)


def load_packed(
    folder: Path,
    scheme: Scheme | None = None,
    placement: Placement = Placement(),
    *,
    skip: Iterable[str] = (),
    trust_remote_code: bool = False,
    report: Report = report_nothing,
) -> PreTrainedModel:
    """Return the model in `folder` for inference.

    Args:
        folder: ordinary safetensors, or written by `compress_folder`.
        scheme: to which an ordinary folder is packed; None: as the folder says.
        placement: device and dtypes.
        skip: patterns of layers that are not packed, for an ordinary folder.
        trust_remote_code: run Python code that comes with the model.
        report: called with bytes read and bytes in all.

    Raises:
        CheckpointFault: a shard is damaged or lacks what the model needs; file and tensor named.
        ModelNotSupported: transformers cannot make a causal language model of it.
        ConfigurationError: `scheme` for a folder that is packed, or none for one that is not.
    """
    reader = CheckpointReader(folder)
    packing = read_packing(reader.config())
    config = read_config(folder, trust_remote_code=trust_remote_code)
    model = make_skeleton(config, placement.dtype, trust_remote_code=trust_remote_code)
    if packing is None:
        if scheme is None:
            raise ConfigurationError(f"{folder} is not compressed, and no scheme is given")
        filling = _Filling(model, Packing(scheme, frozenset(packable(model, skip))), placement)
        fill = filling.quantise
    else:
        if scheme is not None:
            raise ConfigurationError(f"{folder} is compressed already, to {packing.scheme}")
        filling = _Filling(model, packing, placement)
        fill = filling.restore
    done, total = 0, reader.total_bytes
    with returning_memory() as give_back:
        for info in reader:
            fill(info.name, reader)
            give_back()
            done += info.nbytes
            report(done, total)
    filling.finish(reader)
    return model


class _Filling:
    """A skeleton on its way to a model."""

    def __init__(self, model: PreTrainedModel, packing: Packing, placement: Placement) -> None:
        self._model = model
        self._packing = packing
        self._placement = placement
        self._names = Names(model)
        self._waiting: dict[str, dict[str, torch.Tensor]] = {}
        self._copies = MemoryBudget(placement.copy_bytes)
        self._transposed = {
            name for name in packing.layers if is_transposed(_submodule(model, name))
        }
        self._layers = {name: self._replace(name) for name in packing.layers}
        self._filled: set[str] = set()

    def quantise(self, name: str, reader: CheckpointReader) -> None:
        """Take an ordinary tensor in; a packed layer's weight is packed."""
        place = self._names.layer(name, self._layers)
        if place is None or place[1] != "weight":
            self._plain(name, reader, place)
            return
        layer, _ = place
        weight = reader.tensor(name)
        rows = weight.t() if layer in self._transposed else weight
        expected = (self._layers[layer].out_features, self._layers[layer].in_features)
        if tuple(rows.shape) != expected:
            raise _wrong_shape(reader, name, tuple(weight.shape), expected)
        self._layers[layer].take(quantise(rows, self._packing.scheme, name=name))
        self._filled.add(layer)

    def restore(self, name: str, reader: CheckpointReader) -> None:
        """Take a tensor of a compressed folder in; a layer is made when all of its are there."""
        place = self._names.layer(name, self._layers)
        if place is None or place[1] == "bias":
            self._plain(name, reader, place)
            return
        layer, leaf = place
        module = self._layers[layer]
        shape = (module.out_features, module.in_features)
        wanted = tensor_specs(self._packing.scheme, shape)
        parts = self._waiting.setdefault(layer, {})
        parts[leaf] = reader.tensor(name)
        if set(parts) >= set(wanted):
            module.take(stored_from(self._packing.scheme, shape, parts, name=layer))
            self._filled.add(layer)
            del self._waiting[layer]

    def finish(self, reader: CheckpointReader) -> None:
        """Tie what is tied, and refuse a model with a hole in it."""
        self._model.tie_weights()
        holes = [f"{layer}.weight" for layer in self._layers if layer not in self._filled]
        holes += [name for name, tensor in self._model.named_parameters() if tensor.is_meta]
        if holes:
            more = f" and {len(holes) - 1} more" if len(holes) > 1 else ""
            raise CheckpointMismatch(
                f"the tensor that the model needs is missing{more}",
                file=reader.folder,
                tensor=min(holes),
            )
        # The buffers that the model has computed for itself.
        cast("nn.Module", self._model).to(self._placement.device)

    def _replace(self, name: str) -> PackedLinear:
        linear = _submodule(self._model, name)
        rows, columns = weight_rows(linear).shape
        packed = PackedLinear(
            columns,
            rows,
            self._packing.scheme,
            bias=getattr(linear, "bias", None) is not None,
            dtype=self._placement.packed_dtype,
            device=self._placement.device,
            copies=self._copies,
        )
        self._model.set_submodule(name, packed)
        return packed

    def _plain(self, name: str, reader: CheckpointReader, place: tuple[str, str] | None) -> None:
        place = place or self._names.find(name)
        if place is None:
            return  # a buffer of older versions, a head that is not used
        path, leaf = place
        module = self._model.get_submodule(path)
        tensor = reader.tensor(name)
        slot = module._parameters.get(leaf)  # noqa: SLF001 - a parameter or a buffer
        old = slot if slot is not None else module._buffers[leaf]  # noqa: SLF001
        if old is not None and old.shape != tensor.shape:
            raise _wrong_shape(reader, name, tuple(tensor.shape), tuple(old.shape))
        if tensor.is_floating_point():
            dtype = old.dtype if old is not None and old.is_floating_point() else tensor.dtype
            tensor = tensor.to(self._placement.device, dtype)
        if slot is not None:
            tensor = nn.Parameter(tensor, requires_grad=False)
        setattr(module, leaf, tensor)


def _submodule(model: PreTrainedModel, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as fault:
        text = f"The packed layer {name} has no place in {type(model).__name__}"
        raise ModelNotSupported(text) from fault


def _wrong_shape(
    reader: CheckpointReader, name: str, found: tuple[int, ...], expected: tuple[int, ...]
) -> CheckpointMismatch:
    return CheckpointMismatch(
        f"its shape is {found}, the model needs {expected}",
        file=reader.info(name).file,
        tensor=name,
    )
