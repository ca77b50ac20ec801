"""The Lua scripts that change a run: each checks and writes in one step.

Every script that a run's holder calls takes the run's hash as KEYS[1], its lease as KEYS[2]
and its owner and the lease's milliseconds as ARGV[1] and ARGV[2], and returns `held`, or why
the owner may no longer write: `lost` to another evaluator, or the status that ended the run.
A lease that ran out while nobody took it is taken up again.
"""

from __future__ import annotations

_HOLD = """
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'running' then return status or 'gone' end
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then return 'lost' end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
"""

# KEYS[3]: open runs. ARGV: run id, time.
CLAIM = """
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'queued' and status ~= 'running' then
  redis.call('ZREM', KEYS[3], ARGV[3])
  return status or 'gone'
end
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 'lost' end
end
redis.call('HSET', KEYS[1], 'status', 'running')
redis.call('HSETNX', KEYS[1], 'started_at', ARGV[4])
return 'held'
"""

RENEW = f"{_HOLD} return 'held'"

# KEYS[3]: where to write; KEYS[4]: scores; then all that is kept alive with the run.
# ARGV: item, text, score or nothing, seconds to keep, then counters and what to add to each.
COMMIT = f"""
{_HOLD}
if redis.call('HSETNX', KEYS[3], ARGV[3], ARGV[4]) == 1 then
  if ARGV[5] ~= '' then redis.call('HSET', KEYS[4], ARGV[3], ARGV[5]) end
  for i = 7, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
redis.call('EXPIRE', KEYS[1], ARGV[6])
for i = 3, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[6]) end
return 'held'
"""

# KEYS[3]: open runs. ARGV: run id, time, status, error or nothing.
FINISH = f"""
{_HOLD}
redis.call('HSET', KEYS[1], 'status', ARGV[5], 'finished_at', ARGV[4])
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[6]) end
redis.call('ZREM', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[2])
return 'held'
"""

RELEASE = f"""
{_HOLD}
redis.call('HSET', KEYS[1], 'status', 'queued')
redis.call('DEL', KEYS[2])
return 'held'
"""

# KEYS: run, lease, open runs. ARGV: run id, time. Anybody may cancel; the holder finds out.
CANCEL = """
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'queued' and status ~= 'running' then return status or 'gone' end
redis.call('HSET', KEYS[1], 'status', 'canceled', 'finished_at', ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[2])
return 'canceled'
"""
