"""Secrets that stand in files: `LLMZOO_<NAME>_FILE` names the file of the secret `LLMZOO_<NAME>`.

Owns which settings may be given so, and the reading. The variable itself comes first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import EnvSettingsSource

from shared.errors import ConfigurationError


class SecretFiles(EnvSettingsSource):
    """Gives the settings that are one secret, as container platforms hand them out."""

    def __call__(self) -> dict[str, Any]:
        """Return the secrets whose file is named.

        Raises:
            ConfigurationError: a file cannot be read, is no text or is empty.
        """
        secrets = [
            name
            for name, info in self.settings_cls.model_fields.items()
            if info.annotation is SecretStr and not self._variable(name)
        ]
        files = {name: self._variable(f"{name}_file") for name in secrets}
        return {name: _read(name, Path(file)) for name, file in files.items() if file}

    def _variable(self, name: str) -> str:
        return self.env_vars.get(f"{self.env_prefix}{name}".lower()) or ""


def _read(name: str, path: Path) -> str:
    variable = f"LLMZOO_{name.upper()}_FILE"
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as fault:
        raise _wrong(variable, f"{path} cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise _wrong(variable, f"{path} is no UTF-8 text") from None
    if not text:
        raise _wrong(variable, f"{path} is empty")
    return text


def _wrong(variable: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"{variable}: {what}", param=variable)
