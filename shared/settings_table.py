"""README's configuration table, made from the settings themselves.

`python -m shared.settings_table README.md` rewrites the table between its two markers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.settings import (
    ClientSettings,
    ControllerSettings,
    EvaluatorSettings,
    Settings,
    WebuiSettings,
    WorkerSettings,
)

BEGIN = "<!-- settings: made by `make docs` -->"
END = "<!-- end of settings -->"

READERS: dict[str, type[Settings]] = {
    "controller": ControllerSettings,
    "worker": WorkerSettings,
    "web UI": WebuiSettings,
    "evaluator": EvaluatorSettings,
    "CLI": ClientSettings,
}


def settings_table() -> str:
    """Return the Markdown table: variable, default, who reads it, meaning."""
    fields: dict[str, FieldInfo] = {}
    readers: dict[str, list[str]] = {}
    for reader, shape in READERS.items():
        for name, info in shape.model_fields.items():
            fields.setdefault(name, info)
            readers.setdefault(name, []).append(reader)
    lines = ["| variable | default | read by | meaning |", "|---|---|---|---|"]
    for name, info in fields.items():
        who = "all" if len(readers[name]) == len(READERS) else ", ".join(readers[name])
        if readers[name] == [reader for reader in READERS if reader != "CLI"]:
            who = "services"
        lines.append(f"| `LLMZOO_{name.upper()}` | {_default(info)} | {who} | {info.description} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """Return `readme` with the table between its markers replaced."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        msg = f"README lacks the markers {BEGIN!r} and {END!r}"
        raise ValueError(msg)
    return f"{head}{BEGIN}\n{settings_table()}\n{END}{tail}"


def _default(info: FieldInfo) -> str:
    value: Any = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path):
        # Shown as a user's own, wherever the table was made.
        value = str(value).replace(str(Path.home()), "~")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (
        f"`{str(value).lower() if isinstance(value, bool) else value}`"
        if value or value == 0
        else ""
    )


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
