"""Whether a model's weights are packed, and by whom: a setting, its folder, or another library.

Owns the choice and its refusals. Reads config.json only; loading is `shared.compression`'s, and
transformers' for what other libraries have quantised.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from shared.compression.packing import METHOD, quantisation_of
from shared.compression.scheme import Scheme
from shared.errors import ConfigurationError, ModelNotSupported
from shared.model_folder import CONFIG, read_json
from shared.settings import WorkerSettings

# What transformers asks for, by the method that config.json names: any one of the modules.
_LIBRARIES = {
    "gptq": ("gptqmodel", "auto_gptq"),
    "awq": ("gptqmodel", "awq"),
    "bitsandbytes": ("bitsandbytes",),
}
LOAD_8BIT, LOAD_4BIT = Scheme("int8"), Scheme("int4", 32, symmetric=False)
"""What `--load-8bit` and `--load-4bit` ask for."""


@dataclass(frozen=True, slots=True)
class PackingChoice:
    """`scheme` None: as the folder says, where `is_packed`; else the weights as they are."""

    is_packed: bool
    scheme: Scheme | None = None

    def __str__(self) -> str:
        """Return what belongs into a fingerprint; a folder's own packing is in its config."""
        return str(self.scheme or "")


def choose_packing(folder: Path, settings: WorkerSettings) -> PackingChoice:
    """Return how the weights in `folder` are to be loaded.

    Raises:
        ConfigurationError: both sizes are asked for, or one for a model that is quantised already.
        ModelNotSupported: it is quantised by a method whose library is not installed.
    """
    if settings.load_8bit and settings.load_4bit:
        raise ConfigurationError("Weights are compressed to 8 bits or to 4, not both")
    scheme = None
    if settings.load_8bit:
        scheme = LOAD_8BIT
    elif settings.load_4bit:
        scheme = LOAD_4BIT
    method = quantisation_of(read_json(folder / CONFIG))
    if method and scheme is not None:
        raise ConfigurationError(
            f"{folder} is quantised already ({method}): leave out --load-8bit and --load-4bit"
        )
    if method not in {"", METHOD}:
        _check_library(folder, method)
    return PackingChoice(method == METHOD or scheme is not None, scheme)


def _check_library(folder: Path, method: str) -> None:
    modules = _LIBRARIES.get(method, ())
    if modules and not any(map(find_spec, modules)):
        raise ModelNotSupported(
            f"{folder} is a {method.upper()} checkpoint, which transformers loads with "
            f"{modules[0]}: pip install {modules[0]}"
        )
