"""What is remembered of keys: little, and once for all who ask."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from services.controller.access.keyring import (
    MAX_LOOKUPS,
    MAX_SEEN,
    MAX_UNKNOWN,
    Keyring,
)
from services.controller.access.keys import KeysUnreachable
from services.controller.access.static_keys import StaticKeys
from shared.settings import ControllerSettings
from tests.fakes.key_store import FakeKeyStore
from tests.fakes.waiting import eventually


@pytest.fixture
def store():
    return FakeKeyStore()


@pytest.fixture
def keyring(store):
    return Keyring(StaticKeys(ControllerSettings()), store)


async def test_all_who_send_a_new_key_at_once_share_a_look_up(store, keyring):
    key = store.add().encode()
    store.answers.clear()
    asking = [asyncio.create_task(keyring.find(key)) for _ in range(20)]
    await eventually(lambda: store.asked == 1)
    # Whoever leaves takes nothing from the others.
    asking[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking[0]
    store.answers.set()
    found = await asyncio.gather(*asking[1:])
    assert {each.name for each in found} == {"a key"}
    assert store.asked == 1


async def test_a_flood_of_guesses_is_bounded(store, keyring):
    for number in range(MAX_UNKNOWN + 100):
        assert await keyring.find(b"zoo-%d" % number) is None
    assert len(keyring._unknown) == MAX_UNKNOWN

    store.answers.clear()
    guesses = [asyncio.create_task(keyring.find(b"zoo-x%d" % n)) for n in range(MAX_LOOKUPS)]
    await eventually(lambda: len(keyring._lookups) == MAX_LOOKUPS)
    with pytest.raises(KeysUnreachable):
        await keyring.find(b"zoo-one-more")
    store.answers.set()
    assert set(await asyncio.gather(*guesses)) == {None}
    assert not keyring._lookups


async def test_the_keys_seen_last_are_kept(store, keyring):
    keys = [store.add().encode() for _ in range(MAX_SEEN + 10)]
    for key in keys:
        await keyring.find(key)
        assert keyring.known(keys[0]) is not None
    assert len(keyring._seen) == MAX_SEEN
    assert keyring.known(keys[1]) is None
    assert await keyring.find(keys[1]) is not None


async def test_without_redis_nobody_waits_for_it_again_and_again(store, keyring):
    store.reachable = False
    for number in range(50):
        with pytest.raises(KeysUnreachable):
            await keyring.find(b"zoo-%d" % number)
    assert store.asked == 1


async def test_a_revocation_stays_whatever_redis_says_later(store, keyring):
    key = store.add()
    (record,) = store.records.values()
    assert await keyring.find(key.encode()) is not None
    keyring.learn(record.model_copy(update={"revoked_at": 1}))
    assert await keyring.find(key.encode()) is None
    keyring.learn(record)
    assert await keyring.find(key.encode()) is None
