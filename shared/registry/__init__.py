"""The registry: who is in the fleet, kept in Redis under keys that expire."""

from shared.registry.heartbeat import Heartbeat, HeartbeatMetrics
from shared.registry.view import RedisMemory, RegistryUnreachable, RegistryView, Snapshot

__all__ = [
    "Heartbeat",
    "HeartbeatMetrics",
    "RedisMemory",
    "RegistryUnreachable",
    "RegistryView",
    "Snapshot",
]
