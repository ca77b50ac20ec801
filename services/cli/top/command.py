"""`llmzoo top`: the fleet at work, looked at again and again.

Owns the looking and the terminal. What is shown is in `view`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, NoReturn

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.cli.client import call
from services.cli.failures import one_line
from services.cli.table import columns
from services.cli.top import view
from shared.client import ZooClient
from shared.errors import LLMZooError
from shared.settings import ClientSettings


def watch(settings: ClientSettings, *, once: bool, interval: float, as_json: bool) -> None:
    """Show the fleet until Ctrl-C, every `interval` seconds; raises as ZooClient at first."""
    live = not (once or as_json) and sys.stdout.isatty()

    async def look(client: ZooClient) -> None:
        if live:
            await _live(client, interval)
        _print(await _stats(client), as_json=as_json)
        while not once:
            await asyncio.sleep(interval)
            _print(await _stats(client), as_json=as_json)

    try:
        call(settings, look)
    except KeyboardInterrupt:
        print()


async def _stats(client: ZooClient) -> dict[str, Any]:
    stats = await client.get("/v1/stats")
    # The client's own addition.
    stats.pop("_request_id", None)
    return stats


def _print(stats: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(orjson.dumps(stats).decode(), flush=True)
    else:
        table = columns(view.HEAD, list(view.rows(stats)))
        print(view.totals(stats), "", *table, sep="\n", flush=True)


async def _live(client: ZooClient, interval: float) -> NoReturn:
    stats = await _stats(client)
    fault = ""
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            live.update(_drawn(stats, fault), refresh=True)
            await asyncio.sleep(interval)
            try:
                stats, fault = await _stats(client), ""
            except LLMZooError as failure:
                # A controller that restarts is looked at again.
                fault = one_line(failure)


def _drawn(stats: dict[str, Any], fault: str) -> Group:
    table = Table(box=None, pad_edge=False)
    for title in view.HEAD:
        table.add_column(title, no_wrap=True)
    for row in view.rows(stats):
        table.add_row(*(Text(cell) for cell in row))
    above = Text(fault, style="red") if fault else Text(view.totals(stats))
    return Group(above, Text(), table)
