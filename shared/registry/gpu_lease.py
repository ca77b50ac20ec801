"""The lease of GPUs: which worker has which, kept in Redis under keys that expire.

A GPU has one place, or several where workers share it. A lease is of one place on each of as many
GPUs as were asked for, of all of them or of none, and is renewed with each beat. Owns the scripts
and what this process holds; knows neither NVML nor CUDA. Which GPUs there are, and in which order
they are wanted, it is told.

Where two hold a place, since Redis has lost its data or one of them stood still for longer than
its lease, the one that had it first keeps it.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any, cast

import redis

from shared.registry import keys

Place = tuple[str, int]
"""A GPU's UUID and the number of a place on it, from 0 on."""

# What stands in a key: since when (Redis's microseconds), a random token, the worker's id.
# KEYS: places, the most wanted first. ARGV: GPUs needed, TTL in ms, token, worker, then the GPU of
# each place. Returns since when they are leased and the places' indices, from 1 on; or '' and what
# stands in those that are taken. One under the worker's own name belonged to the process that had
# its address before it, and is free.
_TAKE = """
local taken, chosen, has = {}, {}, {}
for i, key in ipairs(KEYS) do
  local gpu, there = ARGV[4 + i], redis.call('GET', key)
  local token, worker = string.match(there or '', '^%d+ (%S+) (.*)$')
  if there and token ~= ARGV[3] and worker ~= ARGV[4] then
    taken[#taken + 1] = there
  elseif not has[gpu] and #chosen < tonumber(ARGV[1]) then
    has[gpu] = true
    chosen[#chosen + 1] = i
  end
end
if #chosen < tonumber(ARGV[1]) then return {'', taken} end
local time = redis.call('TIME')
local since = time[1] .. string.format('%06d', time[2])
for _, i in ipairs(chosen) do
  redis.call('SET', KEYS[i], since .. ' ' .. ARGV[3] .. ' ' .. ARGV[4], 'PX', ARGV[2])
end
return {since, chosen}
"""
# KEYS: the places held. ARGV: TTL in ms, token, since, worker. Returns what stands in a place that
# another one has had for longer, and then renews none; else ''.
_RENEW = """
for _, key in ipairs(KEYS) do
  local there = redis.call('GET', key)
  local since, token = string.match(there or '', '^(%d+) (%S+)')
  if since and token ~= ARGV[2] then
    local before = tonumber(since) - tonumber(ARGV[3])
    if before < 0 or (before == 0 and token < ARGV[2]) then return there end
  end
end
for _, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[3] .. ' ' .. ARGV[2] .. ' ' .. ARGV[4], 'PX', ARGV[1])
end
return ''
"""
# KEYS: places. ARGV: token.
_RELEASE = """
for _, key in ipairs(KEYS) do
  local token = string.match(redis.call('GET', key) or '', '^%d+ (%S+)')
  if token == ARGV[1] then redis.call('DEL', key) end
end
"""


class GpuLease:
    """One process's lease; asked for from any thread, all else on the heartbeat's."""

    def __init__(self, worker: str, ttl: float) -> None:
        """Hold nothing and want nothing.

        Args:
            worker: its id in the registry, told to those who wait.
            ttl: seconds after which a lease that is not renewed is gone.
        """
        self._worker = worker
        self._ttl = max(1, int(ttl * 1000))
        self._token = uuid.uuid4().hex
        self._wanted: tuple[tuple[Place, ...], int] = ((), 0)
        self._held: tuple[Place, ...] = ()
        self._since = "0"
        self._settled = threading.Event()
        self.waits: Callable[[list[str]], None] = lambda _workers: None
        """Told at each beat that finds no place, and the workers that have them."""
        self.lost: Callable[[str, str], None] = lambda _gpu, _worker: None
        """Told once of the GPU that another worker has had for longer, and its name."""

    @property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs that are leased, the most wanted first; from any thread."""
        return tuple(gpu for gpu, _ in self._held)

    def ask(self, places: Sequence[Place], count: int) -> None:
        """Want a place on each of `count` GPUs from the next beat on, the first ones if free."""
        self._settled.clear()
        self._wanted = tuple(places), count

    def drop(self) -> None:
        """Want nothing any more; the next beat gives back what is held."""
        self._wanted = (), 0

    def wait(self) -> tuple[str, ...]:
        """Block until what was asked for is leased, and return the GPUs."""
        self._settled.wait()
        return self.gpus

    def beat(self, client: redis.Redis) -> None:
        """Take what is wanted, renew what is held, give back what is not wanted.

        Raises:
            redis.RedisError: nothing is known; what was held is held on.
        """
        if self._held and not self._wanted[1]:
            self.release(client)
        elif self._held:
            self._renew(client)
        elif self._wanted[1]:
            self._take(client)

    def release(self, client: redis.Redis) -> None:
        """Give back what is held, as far as nobody else has it; raises as `beat`."""
        held, self._held = self._held, ()
        if held:
            client.eval(_RELEASE, len(held), *_names(held), self._token)

    def _take(self, client: redis.Redis) -> None:
        places, count = self._wanted
        gpus = [gpu for gpu, _ in places]
        arguments = *_names(places), count, self._ttl, self._token, self._worker, *gpus
        said = cast("list[Any]", client.eval(_TAKE, len(places), *arguments))
        if not said[0]:
            self.waits([_worker(there) for there in said[1]])
            return
        indices: list[int] = said[1]
        self._since = said[0].decode()
        self._held = tuple(places[index - 1] for index in indices)
        self._settled.set()

    def _renew(self, client: redis.Redis) -> None:
        held = self._held
        there: Any = client.eval(
            _RENEW, len(held), *_names(held), self._ttl, self._token, self._since, self._worker
        )
        if there:
            gpus = ", ".join(self.gpus)
            self.drop()
            self.release(client)
            self.lost(gpus, _worker(there))


def _names(places: Sequence[Place]) -> list[str]:
    return [keys.gpu_lease(gpu, place) for gpu, place in places]


def _worker(there: bytes) -> str:
    """Return the worker's id of what stands in a key."""
    return there.decode(errors="replace").split(" ", 2)[-1]
