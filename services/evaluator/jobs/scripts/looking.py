"""The scripts of an evaluator that looks around: it lives, others died, it goes.

Owns who takes back what from whom: only from processes whose lease is over.
"""

from __future__ import annotations

from services.evaluator.jobs.scripts.prelude import EXPIRED, script
from services.evaluator.jobs.scripts.units import unit_script

SUSPECT_AFTER = 3
"""So many deaths, and a unit is run alone."""
_RECLAIM = 512

# Gives back what a process that ends in good order has taken. ARGV: consumer.
RELEASE = unit_script("""
if gone() then return {'gone'} end
for _, name in ipairs({'work', 'alone'}) do
  local pending = stands(name)
    and redis.call('XPENDING', part(name), GROUP, '-', '+', 1000, ARGV[1]) or {}
  for _, each in ipairs(pending) do
    local entry = redis.call('XRANGE', part(name), each[1], each[1])[1]
    if entry then again(name, entry, name, {}) end
  end
end
return {'released'}
""")

# One look a second: the process lives; which runs are open; what dead processes left goes back
# into the stream, but only if this process itself was there all the time: after an outage of
# Redis everybody's lease is over. KEYS: own lease, open runs. ARGV: consumer, lease in ms, what
# the names of runs begin with, and those of leases. Returns id, status, entries in the stream,
# entries to be run alone and the milliseconds since the last event of each open run, after
# `looked` and how many were reclaimed.
LOOK = unit_script(f"""
local steady = redis.call('EXISTS', KEYS[1]) == 1
redis.call('SET', KEYS[1], '1', 'PX', ARGV[2])
local reclaimed = 0
local function reclaim(name)
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', part(name), GROUP)) do
    local by = {{}}
    for i = 1, #consumer, 2 do by[consumer[i]] = consumer[i + 1] end
    if by.name ~= ARGV[1] and redis.call('EXISTS', ARGV[4] .. by.name) == 0 then
      local pending = redis.call('XPENDING', part(name), GROUP, '-', '+', {_RECLAIM}, by.name)
      for _, each in ipairs(pending) do
        local entry = redis.call('XRANGE', part(name), each[1], each[1])[1]
        if entry then
          local fields = fields_of(entry)
          local died = tonumber(fields.d or '0') + 1
          local changes, to = {{d = died}}, name
          if name == 'alone' then changes.k = tonumber(fields.k or '0') + 1 end
          if died >= {SUSPECT_AFTER} then to = 'alone' end
          again(name, entry, to, changes)
          reclaimed = reclaimed + 1
        else
          redis.call('XACK', part(name), GROUP, each[1])
        end
      end
      if #pending < {_RECLAIM} then
        redis.call('XGROUP', 'DELCONSUMER', part(name), GROUP, by.name)
      end
    end
  end
end
local found = {{}}
for _, id in ipairs(redis.call('ZRANGE', open, 0, -1)) do
  run = ARGV[3] .. id
  local status, deadline = field('status'), number('deadline_at')
  if not is_open(status) then
    redis.call('ZREM', open, id)
  elseif redis.call('EXISTS', part('work'), part('alone')) < 2 then
    finish('failed', '', '{EXPIRED}')
  elseif deadline > 0 and milliseconds() >= deadline then
    finish('canceled', 'deadline', '')
  else
    if steady then
      reclaim('work')
      reclaim('alone')
    end
    found[#found + 1] = id
    found[#found + 1] = status
    found[#found + 1] = redis.call('XLEN', part('work'))
    found[#found + 1] = redis.call('XLEN', part('alone'))
      - redis.call('XPENDING', part('alone'), GROUP)[1]
    local last = redis.call('XREVRANGE', part('events'), '+', '-', 'COUNT', 1)[1]
    found[#found + 1] = last and milliseconds() - tonumber(last[1]:match('^%d+')) or 0
  end
end
return {{'looked', reclaimed, unpack(found)}}
""")

# Keeps a run's parts from expiring while it is open.
KEEP = script("""
if field('status') and field('status') ~= 'deleted' then keep() end
return {'kept'}
""")
