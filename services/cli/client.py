"""The command line as a client of a controller: its settings, and one call.

Owns the precedence: an option, then the environment, then the default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.client import ZooClient
from shared.errors import ConfigurationError
from shared.settings import ClientSettings, load

T = TypeVar("T")


def client_settings(base_url: str | None, api_key: str | None) -> ClientSettings:
    """Return the settings with what the command line gives.

    Raises:
        ConfigurationError: a value does not fit.
    """
    given = {"base_url": base_url, "api_key": api_key}
    settings = load(
        ClientSettings, **{name: value for name, value in given.items() if value is not None}
    )
    if not settings.base_url.startswith(("http://", "https://")):
        msg = f"--base-url {settings.base_url!r} is no http URL"
        raise ConfigurationError(msg, param="--base-url")
    return settings


def call(settings: ClientSettings, ask: Callable[[ZooClient], Awaitable[T]]) -> T:
    """Return what `ask` gets from the server; raises as ZooClient."""

    async def connected() -> T:
        key = settings.api_key.get_secret_value()
        async with ZooClient(settings.base_url, key) as client:
            return await ask(client)

    return asyncio.run(connected())
