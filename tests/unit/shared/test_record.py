"""What of the registry is believed: the token's signature, and addresses in allowed networks."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from shared.protocol.workers import ServiceRecord, State
from shared.registry.record import RecordRefused, check_address, sign, verify
from shared.settings import FleetSettings

RECORD = ServiceRecord(
    id="worker-1", kind="worker", address="http://127.0.0.1:8010", incarnation="a", beat=3
)
NETWORKS = FleetSettings().networks()


def test_what_was_signed_comes_back() -> None:
    assert verify(sign(RECORD, "secret"), "secret") == RECORD


def test_another_token_is_refused() -> None:
    with pytest.raises(RecordRefused, match="token"):
        verify(sign(RECORD, "theirs"), "ours")


def test_a_changed_byte_is_refused() -> None:
    signed = sign(RECORD, "secret").replace(b"8010", b"8011")
    with pytest.raises(RecordRefused):
        verify(signed, "secret")


@pytest.mark.parametrize("junk", [b"", b"x", b" ", b"{}", sign(RECORD, "s").partition(b" ")[0]])
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(RecordRefused):
        verify(junk, "s")


def test_a_field_of_a_newer_version_is_skipped() -> None:
    newer = RECORD.model_copy(update={"state": State.READY})
    body = newer.model_dump_json().replace("{", '{"colour": "red", ', 1)
    assert ServiceRecord.model_validate_json(body) == newer


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:8010", "http://10.1.2.3:1", "http://[::1]:8010", "http://worker:8010"],
)
def test_addresses_at_home(address: str) -> None:
    check_address(address, NETWORKS)


@pytest.mark.parametrize(
    "address",
    [
        "http://8.8.8.8:80",
        "http://169.254.169.254/latest",
        "http://evil.example:80",
        "file:///etc/passwd",
        "ftp://127.0.0.1",
        "",
        "http://",
        "http://127.0.0.1:99999",
        "http://[::1",
    ],
)
def test_addresses_elsewhere_are_refused(address: str) -> None:
    with pytest.raises(RecordRefused):
        check_address(address, NETWORKS)


def test_allowed_networks_can_be_set() -> None:
    check_address("http://8.8.8.8:80", [ip_network("8.8.8.0/24")])
