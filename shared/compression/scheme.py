"""The names of what a Linear's weight can be packed to.

Owns the three schemes and their options. Knows neither tensors nor kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.errors import ConfigurationError

Kind = Literal["bf16", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a layer is packed.

    Attributes:
        kind: `bf16` casts; `int8` has one scale an output channel; `int4` one a group of inputs.
        group_size: neighbouring inputs that share a scale; int4 only. Kernels know 32, 64, 128
            and 256, other sizes are computed by the slow reference.
        symmetric: int4 only; False keeps the value of the middle code for each group too.
    """

    kind: Kind
    group_size: int = 32
    symmetric: bool = True

    def __post_init__(self) -> None:
        """Refuse unknown kinds and groups that fill no whole byte.

        Raises:
            ConfigurationError: names what is wrong.
        """
        if self.kind not in ("bf16", "int8", "int4"):
            raise ConfigurationError(
                f"weights can be packed to bf16, int8 or int4, not {self.kind}"
            )
        if self.group_size < 2 or self.group_size % 2:  # noqa: PLR2004 - two codes to a byte
            raise ConfigurationError(f"group_size must be even and positive, not {self.group_size}")

    def __str__(self) -> str:
        """Return it as a report shows it."""
        if self.kind != "int4":
            return "int8 per channel" if self.kind == "int8" else "bf16"
        return f"int4 {'symmetric' if self.symmetric else 'asymmetric'} group {self.group_size}"
