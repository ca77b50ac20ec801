"""A key and its record."""

from __future__ import annotations

import hashlib

import orjson
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from services.controller.access.key_record import KeyRecord, KeySpec, digest, key_id, new_key
from services.controller.access.keyring import Keyring
from services.controller.access.principal import Scope
from services.controller.access.static_keys import StaticKeys
from services.controller.routes.keys import keys_routes
from shared.protocol.priority import Priority
from shared.settings import ControllerSettings
from tests.fakes.key_store import FakeKeyStore

SPEC = KeySpec.model_validate(
    {"name": "x", "scopes": ["eval", "chat", "eval"], "priority": "batch", "expires_in": 10}
)


def test_the_record_holds_a_digest_and_an_id_made_of_it():
    key, record = new_key(SPEC)
    assert record.digest == hashlib.sha256(key.encode()).hexdigest()
    assert record.id == key_id(digest(key.encode())) == f"key_{record.digest[:16]}"
    assert key[4:] not in record.model_dump_json()
    assert "digest" not in record.told(0)
    assert new_key(SPEC)[0] != key


def test_it_says_what_the_principal_may():
    principal = new_key(SPEC)[1].principal()
    assert principal.scopes == {Scope.CHAT, Scope.EVAL}
    assert principal.priority is Priority.BATCH


def test_it_is_valid_until_it_expires_or_is_revoked_and_forgotten_a_month_later():
    record = new_key(SPEC)[1]
    end = record.expires_at
    assert record.valid(end - 1)
    assert not record.valid(end)
    assert not record.forgettable(end + 29 * 86400)
    assert record.forgettable(end + 31 * 86400)
    revoked = record.model_copy(update={"revoked_at": end - 5})
    assert not revoked.valid(end - 6)
    assert not new_key(KeySpec(name="x"))[1].forgettable(end * 10)


def test_a_record_of_a_newer_version_can_be_read_and_a_damaged_one_cannot():
    fields = orjson.loads(new_key(SPEC)[1].model_dump_json())
    assert KeyRecord.model_validate_json(orjson.dumps({**fields, "colour": "red"}))
    for damage in ({"scopes": []}, {"scopes": ["root"]}, {"tokens_per_minute": -1}):
        with pytest.raises(ValidationError):
            KeyRecord.model_validate_json(orjson.dumps({**fields, **damage}))


def test_the_api_describes_the_body_that_makes_a_key():
    app, store = FastAPI(), FakeKeyStore()
    app.include_router(keys_routes(store, Keyring(StaticKeys(ControllerSettings()), store)))
    described = app.openapi()["paths"]["/admin/keys"]["post"]["requestBody"]["content"]
    schema = described["application/json"]["schema"]
    assert schema["properties"]["scopes"]["items"]["enum"] == ["chat", "eval", "metrics", "admin"]
    assert b"$ref" not in orjson.dumps(schema)
