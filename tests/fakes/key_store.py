"""A store of API keys in memory, which can be away."""

from __future__ import annotations

import asyncio

from services.controller.access.key_record import KeyRecord, KeySpec, new_key
from services.controller.access.keys import KeysUnreachable


class FakeKeyStore:
    """What a keyring asks of a store; `asked` counts look-ups, which wait for `answers`."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.reachable = True
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    def add(self, **spec) -> str:
        key, record = new_key(KeySpec.model_validate({"name": "a key", **spec}))
        self.records[record.id] = record
        return key

    async def find(self, key_id: str) -> KeyRecord | None:
        self.asked += 1
        await self.answers.wait()
        if not self.reachable:
            raise KeysUnreachable
        return self.records.get(key_id)
