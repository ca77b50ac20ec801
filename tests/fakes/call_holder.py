"""A controller's call store in a process of its own: `call_holder.py REDIS_URL FOLDER LEASE`.

It takes the call `k-1` of the key `key-1`, says `holding` once it makes it, and never ends it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from services.controller.relay.answer import Answer
from tests.fakes.call_stores import Producer, running_store


class EndlessProducer(Producer):
    async def __call__(self) -> Answer:
        print("holding", flush=True)
        return await super().__call__()


async def main() -> None:
    url, folder, lease = sys.argv[1:]
    async with running_store(url, Path(folder), lease=float(lease)) as store:
        await store.ask(EndlessProducer(held=True))


if __name__ == "__main__":
    asyncio.run(main())
