"""The allow-list of addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from services.controller.endpoints.addresses import AddressPolicy
from shared.settings import LOCAL_NETWORKS

LOCAL = [ip_network(each) for each in LOCAL_NETWORKS.split(",")]

# Address, whether http may go there, whether https may; with the fleet's networks allowed.
DEFAULTS = [
    ("8.8.8.8", False, True),
    ("2606:4700::1111", False, True),
    ("127.0.0.1", True, True),
    ("::1", True, True),
    ("10.1.2.3", True, True),
    ("192.168.0.1", True, True),
    ("fd12::1", True, True),
    ("169.254.169.254", False, False),
    ("169.254.1.1", False, False),
    ("fe80::1", False, False),
    ("fd00:ec2::254", False, False),
    ("100.100.100.200", False, False),
    ("168.63.129.16", False, False),
    ("100.64.0.1", False, False),
    ("0.0.0.0", False, False),
    ("::", False, False),
    ("224.0.0.1", False, False),
    ("ff02::1", False, False),
    ("240.0.0.1", False, False),
    ("255.255.255.255", False, False),
    # IPv4 in IPv6's clothes.
    ("::ffff:127.0.0.1", True, True),
    ("::ffff:169.254.169.254", False, False),
    ("::ffff:8.8.8.8", False, True),
    ("64:ff9b::a9fe:a9fe", False, False),
    ("64:ff9b::a00:1", True, True),
    ("2002:a9fe:a9fe::1", False, False),
]


@pytest.mark.parametrize(("address", "http", "https"), DEFAULTS)
def test_where_endpoints_may_lie_by_default(address, http, https):
    policy = AddressPolicy(LOCAL)
    assert policy.allows(ip_address(address), tls=False) is http
    assert policy.allows(ip_address(address), tls=True) is https


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ("10.0.0.0/8", "127.0.0.1", False),
        ("10.0.0.0/8", "10.0.0.1", True),
        ("203.0.113.0/24", "203.0.113.7", True),
        ("0.0.0.0/0", "8.8.8.8", True),
        # A metadata service must be named, not just covered.
        ("0.0.0.0/0", "169.254.169.254", False),
        ("::/0", "fe80::1", False),
        ("169.254.0.0/16", "169.254.169.254", True),
        ("169.254.169.254/32", "169.254.169.254", True),
        ("169.254.169.254/32", "169.254.169.253", False),
        ("0.0.0.0/0,169.254.1.0/24", "169.254.169.254", False),
        ("100.64.0.0/10", "100.64.0.1", True),
        ("100.64.0.0/10", "100.100.100.200", False),
    ],
)
def test_named_networks(networks, address, allowed):
    policy = AddressPolicy([ip_network(each) for each in networks.split(",")])
    assert policy.allows(ip_address(address), tls=False) is allowed
