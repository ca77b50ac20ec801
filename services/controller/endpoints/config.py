"""The endpoints file: which other servers there are, what they serve, and within which limits.

Owns the file's shape and the errors that name file, endpoint and field. Opens no connection and
reads no key; a key in the file itself is refused as an unknown field.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from shared.errors import ConfigurationError
from shared.protocol.validation import Strict


class Prices(Strict):
    """What a million tokens cost."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")


def _as_table(value: object) -> object:
    """Read a bare string as the name of a model."""
    return {"name": value} if isinstance(value, str) else value


def _checked_url(value: str) -> str:
    """Return the base URL without a slash at its end, and with a path.

    Raises:
        ValueError: it is no base URL that may be called.
    """
    try:
        parts = urlsplit(value)
        valid = (parts.port is None or parts.port > 0) and bool(parts.hostname)
    except ValueError:
        parts, valid = urlsplit(""), False
    printable = value.isascii() and value.isprintable() and " " not in value
    if not valid or not printable or parts.scheme not in {"http", "https"}:
        msg = "it is no http or https URL"
        raise ValueError(msg)
    if "@" in parts.netloc:
        msg = "it holds a user name; keys belong into key_file"
        raise ValueError(msg)
    if parts.query or parts.fragment:
        msg = "it holds a query or a fragment"
        raise ValueError(msg)
    base = value.rstrip("/")
    return base if parts.path.strip("/") else f"{base}/v1"


_ModelName = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]


class EndpointModel(Strict):
    """A model as its server spells it, and the name after the slash under which we serve it."""

    name: _ModelName
    alias: _ModelName | None = None
    prices: Prices | None = None

    @property
    def served_as(self) -> str:
        """Return the alias, or the name."""
        return self.alias or self.name


class EndpointConfig(Strict):
    """One server."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    base_url: Annotated[str, AfterValidator(_checked_url)]
    key_file: str | None = Field(None, min_length=1)
    ca_file: str | None = Field(None, min_length=1)
    models: list[Annotated[EndpointModel, BeforeValidator(_as_table)]] = Field(min_length=1)
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    prices: Prices | None = None
    max_concurrency: int = Field(16, ge=1, le=1024)
    timeout: float = Field(300.0, gt=0, le=3600)
    connect_timeout: float = Field(10.0, gt=0, le=60)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        twice = _twice(model.served_as for model in self.models)
        if twice:
            msg = f"the model '{twice}' is named twice"
            raise ValueError(msg)
        if self.ca_file is not None and not self.base_url.startswith("https:"):
            msg = "ca_file is of use with https only"
            raise ValueError(msg)
        return self


class _EndpointsFile(Strict):
    endpoints: list[EndpointConfig] = Field(min_length=1)


def read_endpoints(path: Path) -> list[EndpointConfig]:
    """Return the endpoints of a file.

    Raises:
        ConfigurationError: it cannot be read or something in it does not fit; names the place.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise _error(path, fault.strerror or str(fault)) from None
    except ValueError as fault:
        raise _error(path, f"it is no TOML: {fault}") from None
    try:
        found = _EndpointsFile.model_validate(content).endpoints
    except ValidationError as fault:
        raise _error(path, _first_fault(fault, content)) from None
    twice = _twice(endpoint.name for endpoint in found)
    if twice:
        raise _error(path, f"endpoint '{twice}': name: it is used twice")
    return found


def config_error(path: Path, endpoint: str, field: str, what: str) -> ConfigurationError:
    """Return the error of one field of one endpoint."""
    return _error(path, f"endpoint '{endpoint}': {field}: {what}")


def _error(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(f"LLMZOO_ENDPOINTS_FILE: {path}: {what}", param="endpoints_file")


def _first_fault(fault: ValidationError, content: dict[str, Any]) -> str:
    """Return a sentence that never repeats a value: a key may stand where none should."""
    first = fault.errors(include_url=False, include_input=False, include_context=False)[0]
    where, *rest = first["loc"] or ("",)
    what = "unknown field" if first["type"] == "extra_forbidden" else first["msg"]
    what = what.removeprefix("Value error, ")
    if where != "endpoints" or not rest:
        return f"{where}: {what}"
    number = int(rest[0])
    table = cast("list[object]", content["endpoints"])[number]
    name = cast("dict[str, object]", table).get("name") if isinstance(table, dict) else None
    endpoint = f"endpoint '{name}'" if isinstance(name, str) else f"endpoint number {number + 1}"
    field = ".".join(str(part) for part in rest[1:])
    return f"{endpoint}: {field}: {what}" if field else f"{endpoint}: {what}"


def _twice(names: Iterable[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)
