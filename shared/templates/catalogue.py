"""All families, by name and by the models they serve.

Owns the folder of data files: a file more is a family more. Which template a model gets when it
has one of its own, `choice` knows.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from shared.errors import ConfigurationError
from shared.templates.family import Family, load_family

FOLDER = Path(__file__).with_name("families")
_NO_SIGNS = str.maketrans("", "", "-_. ")


@functools.cache
def families() -> Mapping[str, Family]:
    """Return every family by its name; the files are read once.

    Raises:
        ConfigurationError: a file is wrong.
    """
    loaded = [load_family(file) for file in sorted(FOLDER.glob("*.toml"))]
    return {family.name: family for family in loaded}


def find_family(name: str) -> Family:
    """Return the family of this name or alias; capitals and the signs `-_. ` do not matter.

    Raises:
        ConfigurationError: there is none; the message lists them all.
    """
    wanted = _bare(name)
    for family in families().values():
        if wanted in map(_bare, (family.name, *family.aliases)):
            return family
    known = ", ".join(families())
    raise ConfigurationError(f"There is no chat template {name!r}. There are: {known}.")


def match_family(model_names: list[str], model_type: str) -> tuple[Family, str] | None:
    """Return the family of a model, and what told it; None: nothing does.

    Args:
        model_names: the model's names: `_name_or_path` of its config, its folder, its reference.
        model_type: `model_type` of its config.
    """
    matches = [
        (len(part), family, part)
        for family in families().values()
        for part in family.models
        for name in model_names
        if _contains(name.lower(), part)
    ]
    if matches:
        _, family, part = max(matches, key=lambda match: match[0])
        return family, f"its name holds {part!r}"
    for family in families().values():
        if model_type in family.model_types:
            return family, f"its model_type is {model_type!r}"
    return None


def _bare(name: str) -> str:
    return name.lower().translate(_NO_SIGNS)


def _contains(name: str, part: str) -> bool:
    """Whether `part` stands in `name` as words: "phi-3" is not in "sophi-3", nor in "phi-35"."""
    return re.search(rf"(?<![a-z0-9]){re.escape(part)}(?!\d)", name) is not None
