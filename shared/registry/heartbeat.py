"""The heartbeat: a thread that writes a service's record into Redis, beat after beat.

It has a thread and a connection of its own, so that loading a model or a busy event loop
cannot starve it. Every beat writes the whole record, so a flush, a failover or a lost write
heals within one interval. Owns when and how a record is written; what it says is the
service's affair. A worker's lease of GPUs is renewed on the same thread.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import redis
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.protocol.workers import ServiceRecord, State
from shared.registry import keys
from shared.registry.gpu_lease import GpuLease
from shared.registry.record import sign
from shared.settings import FleetSettings

log = structlog.get_logger(__name__)

# KEYS: record, set of services, refusal. ARGV: signed record, TTL in ms, id, "1" to publish,
# channel, incarnation, start. Returns the refusal, if a controller left one, and "1" if the record
# was written. A process that has taken over the port of another one has its name too: whoever
# began later is announced.
_BEAT = """
local there = redis.call('GET', KEYS[1]) or ''
local other = string.match(there, '"incarnation":"([^"]*)"')
local since = tonumber(string.match(there, '"started_at":(%d+)') or '0')
local mine = other == ARGV[6] or since <= tonumber(ARGV[7])
if mine then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  redis.call('SADD', KEYS[2], ARGV[3])
  if ARGV[4] == '1' then redis.call('PUBLISH', ARGV[5], ARGV[3]) end
end
return {redis.call('GET', KEYS[3]) or '', mine and '1' or '0'}
"""
# KEYS as above. ARGV: id, channel, incarnation.
_WITHDRAW = """
local there = redis.call('GET', KEYS[1])
if there and string.match(there, '"incarnation":"([^"]*)"') ~= ARGV[3] then return end
redis.call('DEL', KEYS[1], KEYS[3])
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[1])
"""
_SOCKET_TIMEOUT = 1.0
_SLOWEST_RETRY = 5.0


class HeartbeatMetrics:
    """What a service tells of its own beats."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self.beats = Counter(
            "llmzoo_heartbeats_total", "Beats by outcome", ["outcome"], registry=registry
        )
        self.age = Gauge(
            "llmzoo_heartbeat_age_seconds",
            "Seconds since the last beat that reached Redis",
            registry=registry,
        )
        for outcome in ("ok", "failed"):
            self.beats.labels(outcome)


class Heartbeat:
    """Announces one service, keeps it announced, withdraws it."""

    def __init__(
        self,
        settings: FleetSettings,
        source: Callable[[], ServiceRecord],
        metrics: HeartbeatMetrics,
        lease: GpuLease | None = None,
    ) -> None:
        """Prepare; nothing is connected before `start`.

        Args:
            settings: Redis, interval and TTL.
            source: returns the service's record as it is now; called on the beat's thread.
                Incarnation and beat number are filled in here.
            metrics: where outcomes are counted.
            lease: taken and renewed with each beat, given back at the end.
        """
        self._settings = settings
        self._lease = lease
        self._source = source
        self._metrics = metrics
        self._incarnation = uuid.uuid4().hex
        self._wake = threading.Event()
        self._stopping = False
        self._beat = 0
        self._published: object = None
        self._last_success = time.monotonic()
        self._refusal = ""
        self._mine = True
        self._reachable: bool | None = None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        metrics.age.set_function(lambda: time.monotonic() - self._last_success)

    @property
    def incarnation(self) -> str:
        """Return the id of this start of the process."""
        return self._incarnation

    @property
    def alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    @property
    def reachable(self) -> bool:
        """Return whether the last beat reached Redis."""
        return bool(self._reachable)

    @property
    def refusal(self) -> str:
        """Return why controllers do not use this service; empty when they do."""
        return self._refusal

    def start(self) -> None:
        """Start the thread; the first beat follows at once."""
        self._thread.start()

    def poke(self) -> None:
        """Beat now, because something changed."""
        self._wake.set()

    def stop(self) -> None:
        """Withdraw the record and end the thread; waits at most a few socket timeouts."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=4 * _SOCKET_TIMEOUT)

    def _run(self) -> None:
        client = _connect(self._settings)
        pause = self._settings.heartbeat_interval
        while not self._stopping:
            try:
                self._beat_once(client)
                if self._lease is not None:
                    self._lease.beat(client)
                pause = self._settings.heartbeat_interval
            except redis.RedisError as fault:
                self._note_unreachable(fault)
                # Soon, so that the fleet heals within a beat; not all at once.
                pause = min(self._settings.heartbeat_interval, _SLOWEST_RETRY)
                pause *= random.uniform(0.5, 1)  # noqa: S311 - no secret
            except Exception:
                # A beat must go on whatever the record's source does: a silent worker is
                # taken for dead. This is one of the three places with a broad except.
                self._metrics.beats.labels("failed").inc()
                log.exception("heartbeat failed")
            self._wake.wait(pause)
            self._wake.clear()
        self._withdraw(client)
        client.close()

    def _beat_once(self, client: redis.Redis) -> None:
        self._beat += 1
        record = self._source().model_copy(
            update={"incarnation": self._incarnation, "beat": self._beat}
        )
        told = (record.state, record.models, record.address)
        signed = sign(record, self._settings.internal_token.get_secret_value())
        told_back: Any = client.eval(
            _BEAT,
            3,
            keys.service(record.id),
            keys.SERVICES,
            keys.refusal(record.id),
            signed,
            int(self._settings.heartbeat_ttl * 1000),
            record.id,
            "1" if told != self._published else "0",
            keys.CHANGES,
            self._incarnation,
            record.started_at,
        )
        refusal, written = told_back
        mine = written == b"1"
        # What was not written is news again once it is.
        self._published = told if mine else None
        self._note_success(refusal, record.state)
        self._note_name(record.id, mine=mine)

    def _withdraw(self, client: redis.Redis) -> None:
        record = self._source()
        try:
            client.eval(
                _WITHDRAW,
                3,
                keys.service(record.id),
                keys.SERVICES,
                keys.refusal(record.id),
                record.id,
                keys.CHANGES,
                self._incarnation,
            )
            if self._lease is not None:
                self._lease.release(client)
        except redis.RedisError as fault:
            log.warning("could not withdraw; the record expires by itself", fault=str(fault))

    def _note_success(self, refusal: bytes, state: State) -> None:
        self._metrics.beats.labels("ok").inc()
        self._last_success = time.monotonic()
        if self._reachable is not True:
            log.info("announced in the registry", state=state)
            self._reachable = True
        reason = refusal.decode(errors="replace")
        if reason and reason != self._refusal:
            log.error("refused by a controller", reason=reason)
        self._refusal = reason

    def _note_name(self, name: str, *, mine: bool) -> None:
        if self._mine and not mine:
            log.info("not announced: a process that began later has this name", name=name)
        self._mine = mine

    def _note_unreachable(self, fault: redis.RedisError) -> None:
        self._metrics.beats.labels("failed").inc()
        if self._reachable is not False:
            log.warning("registry unreachable, trying on", fault=str(fault))
            self._reachable = False


def _connect(settings: FleetSettings) -> redis.Redis:
    return redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        settings.redis_url.get_secret_value(),
        socket_timeout=_SOCKET_TIMEOUT,
        socket_connect_timeout=_SOCKET_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )
