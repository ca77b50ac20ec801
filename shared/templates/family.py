"""One family of chat formats, read from a data file.

Owns the form of the files in `families/`: a family says what stands before and after the text
of each role. What becomes of it, `family_prompt` knows; no code knows a family by name.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import ConfigurationError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Around(_Part):
    """What stands before and after a message; `{round}` counts the user's turns from 1."""

    prefix: str = ""
    suffix: str = ""


class System(Around):
    """The system text; `default` stands in for a conversation that has none."""

    default: str = ""
    place: Literal["front", "first_user"] = "front"
    """Before all turns, or within the user's first one, before what the user says."""


class Family(_Part):
    """A chat format."""

    name: str
    aliases: tuple[str, ...] = ()
    """Other names it may be asked for by."""
    source: str
    """Where the format is published."""
    models: tuple[Annotated[str, Field(min_length=3)], ...] = ()
    """Parts of model names, in lower case, that are trained on it; the longest match counts."""
    model_types: tuple[str, ...] = ()
    """Values of `model_type` in config.json of which every chat model is trained on it."""
    begin: str = ""
    end: str = ""
    """After the last turn, where the prompt ends with one."""
    system: System = System()
    user: Around
    assistant: Around
    tool: Around | None = None
    generation: str | None = None
    """Where the answer begins; as a rule what stands before any message of the assistant."""
    stop: tuple[str, ...] = ()
    """What ends an answer beside the model's own end of text."""
    trim: bool = False
    """White space around each message is not part of it."""
    merge: bool = False
    """Roles must alternate: successive messages of one role become one, a blank line between."""
    open_when_empty: bool = False
    """A message without text has nothing after it: it is still to be written."""


def load_family(file: Path) -> Family:
    """Return the family in a TOML file, named after the file.

    Raises:
        ConfigurationError: unreadable, no TOML, or a field that is missing, unknown or mistyped.
    """
    try:
        fields = tomllib.loads(file.read_text(encoding="utf-8"))
        # JSON's rules: in TOML, as there, a list is the only sequence.
        return Family.model_validate({"name": file.stem, **fields}, strict=False)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ConfigurationError(f"The chat template {file} cannot be read: {fault}") from fault
    except ValidationError as fault:
        first = fault.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ConfigurationError(
            f"The chat template {file} is wrong at {place!r}: {first['msg']}"
        ) from fault
