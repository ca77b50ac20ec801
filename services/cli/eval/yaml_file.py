"""A YAML or JSON file as plain values, or a fault that names its file and line; and back to YAML.

Owns what YAML may mean here: YAML 1.2's numbers, true and false alone, so that the language `no`
and the time `1:30` stay text, no key twice, and no more than JSON could hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, cast

import yaml
from yaml.constructor import ConstructorError

from shared.errors import MalformedFile

MAX_BYTES = 64 * 1024 * 1024
_MAX_VALUES = 2_000_000
_MAX_DEPTH = 64
_ODD_LINE_ENDS = frozenset("\x85\u2028\u2029")
_KINDS = {
    # tag: what is read so, and with what it may begin
    "null": (r"~|null|", ["~", "n", ""]),
    "bool": (r"true|false", ["t", "f"]),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", [*"-+0123456789"]),
    "float": (
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
        [*"-+.0123456789"],
    ),
}


def read_yaml(path: Path) -> object:
    """Return what stands in a file of UTF-8 text, JSON if its name ends so.

    Raises:
        MalformedFile: it cannot be read; the message names file and line.
    """
    text = _text(path)
    try:
        value = _parsed_json(text) if path.suffix == ".json" else _parsed_yaml(text)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line = None if mark is None else mark.line + 1
        # A question mark in `{text: Why?}` is the commonest of them, and none that is obvious.
        hint = "" if isinstance(fault, ConstructorError) else " (texts with ?, : or # want quotes)"
        raise MalformedFile(path, line, f"{fault.problem or 'no YAML'}{hint}") from None
    except json.JSONDecodeError as fault:
        raise MalformedFile(path, fault.lineno, fault.msg) from None
    except (yaml.YAMLError, ValueError) as fault:
        raise MalformedFile(path, None, " ".join(str(fault).split())) from None
    except RecursionError:
        raise MalformedFile(path, None, "is nested too deeply") from None
    _Counter(path).count(value, 0)
    return value


def written_yaml(value: object) -> bytes:
    """Return YAML that is read as `value` again, here and by others."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text.encode()


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MalformedFile(path, None, f"is larger than {MAX_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise MalformedFile(path, None, fault.strerror or str(fault)) from None
    except UnicodeDecodeError as fault:
        raise MalformedFile(path, None, f"is not UTF-8 text (byte {fault.start})") from None


class _Loader(yaml.SafeLoader):
    """A key that stands twice, or is no text, is a fault."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the library's own attribute
        first: [
            (f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"))
            for kind, (pattern, firsts) in _KINDS.items()
            if first in firsts
        ]
        for first in sorted({first for _, firsts in _KINDS.values() for first in firsts})
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping of texts to values."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.tag.endswith(":str"):
                raise ConstructorError(None, None, "a key here is no text", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Texts that could be read as something else, or whose lines would be broken, are quoted."""

    def text(self, value: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        resolvers = [each for some in _Loader.yaml_implicit_resolvers.values() for each in some]
        unlike = any(pattern.match(value) for _, pattern in resolvers)
        quoted = unlike or not _ODD_LINE_ENDS.isdisjoint(value)
        return yaml.ScalarNode("tag:yaml.org,2002:str", value, style='"' if quoted else None)


_Dumper.add_representer(str, _Dumper.text)


def _parsed_yaml(text: str) -> object:
    return cast("object", yaml.load(text, _Loader))  # noqa: S506 - a safe loader


def _parsed_json(text: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
            raise ValueError(f"{twice!r} stands twice in one object")
        return found

    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is no JSON number")

    return cast("object", json.loads(text, object_pairs_hook=once, parse_constant=refuse))


class _Counter:
    """Counts values: aliases can make a small file a huge, or an endless, one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0

    def count(self, value: object, depth: int) -> None:
        self._seen += 1
        if self._seen > _MAX_VALUES or depth > _MAX_DEPTH:
            raise MalformedFile(self._path, None, "holds too many values, or too deep ones")
        parts: list[object] = []
        if isinstance(value, dict):
            parts = list(cast("dict[str, object]", value).values())
        elif isinstance(value, list):
            parts = cast("list[object]", value)
        for part in parts:
            self.count(part, depth + 1)
