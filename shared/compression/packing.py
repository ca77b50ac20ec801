"""Which layers of a model are packed, and how: what a compressed folder's config.json says.

Owns the entry `quantization_config` of ours, its reading and its writing. Reads no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from shared.compression.scheme import Kind, Scheme
from shared.errors import CheckpointDamaged, ConfigurationError

METHOD = "llmzoo"
_ENTRY = "quantization_config"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Packing:
    """`layers` are named as in `named_modules` of the model's class."""

    scheme: Scheme
    layers: frozenset[str]

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config of a model with this packing in it."""
        entry = {
            "quant_method": METHOD,
            "version": _VERSION,
            "kind": self.scheme.kind,
            "group_size": self.scheme.group_size,
            "symmetric": self.scheme.symmetric,
            "layers": sorted(self.layers),
        }
        return {**config, _ENTRY: entry}


def quantisation_of(config: Mapping[str, Any]) -> str:
    """Return the method by which a model is quantised already, such as `gptq`; empty: it is not."""
    entry = config.get(_ENTRY)
    if not isinstance(entry, Mapping):
        return ""
    return str(cast("Mapping[str, object]", entry).get("quant_method", "unknown")).lower()


def read_packing(config: Mapping[str, Any]) -> Packing | None:
    """Return what config.json says of our packing; None: it is not packed by us.

    Raises:
        CheckpointDamaged: the entry is not as we write it.
    """
    if quantisation_of(config) != METHOD:
        return None
    entry = cast("Mapping[str, Any]", config[_ENTRY])
    if entry.get("version") != _VERSION:
        version = entry.get("version")
        raise CheckpointDamaged(f"its packing is of version {version}, known is {_VERSION}")
    try:
        kind = cast("Kind", str(entry["kind"]))
        scheme = Scheme(kind, int(entry["group_size"]), bool(entry["symmetric"]))
        layers = frozenset(map(str, entry["layers"]))
    except (KeyError, TypeError, ValueError, ConfigurationError) as fault:
        raise CheckpointDamaged(f"its {_ENTRY} is damaged: {fault}") from fault
    return Packing(scheme, layers)
