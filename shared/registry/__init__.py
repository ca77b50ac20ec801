"""The registry: who is in the fleet, kept in Redis under keys that expire."""

from shared.registry.gpu_lease import GpuLease
from shared.registry.heartbeat import Heartbeat, HeartbeatMetrics
from shared.registry.view import RedisMemory, RegistryUnreachable, RegistryView, Snapshot

__all__ = [
    "GpuLease",
    "Heartbeat",
    "HeartbeatMetrics",
    "RedisMemory",
    "RegistryUnreachable",
    "RegistryView",
    "Snapshot",
]
