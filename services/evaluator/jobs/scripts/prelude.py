"""What the scripts of a run have in common, put before each of them.

Owns the events' form and the ends of a run.
"""

from __future__ import annotations

from typing import get_args

from shared.registry.keys import RunPart

GROUP = "evaluators"
EVENTS_KEPT = 20_000
KEPT_SECONDS = 7 * 24 * 3600
_DELETED_SECONDS = 3600
_PROGRESS_MS = 250
"""The least time between two events of progress."""

EXPIRED = "The eval or the run has expired."
NOTHING_JUDGED = "No item could be judged; each one's error says why."

_PARTS = ", ".join(f"'{part}'" for part in get_args(RunPart))

PRELUDE = f"""
local run, open = KEYS[1], KEYS[2]
local GROUP = '{GROUP}'
local PARTS = {{{_PARTS}}}
local function part(name) return run .. ':' .. name end
local function field(name) return redis.call('HGET', run, name) end
local function number(name) return tonumber(field(name) or '0') or 0 end
local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
-- The sum is for -0, which Redis takes for no number.
local function whole(value) return string.format('%.0f', value + 0) end

local COUNTS = {{'total', 'answering', 'judging', 'judged', 'undecoded', 'errored', 'passed',
  'failed', 'answers_total', 'answered'}}
local function progress()
  local found = redis.call('HMGET', run, unpack(COUNTS))
  local by = {{}}
  for i, name in ipairs(COUNTS) do by[name] = tonumber(found[i] or '0') or 0 end
  by.done = by.judged + by.undecoded + by.errored
  local busy = by.judging
  if by.total > 0 and field('reviewed') ~= '1' then busy = by.answering end
  by.queued = by.total - by.done - busy
  if by.queued < 0 then by.queued = 0 end
  local parts = {{}}
  for name, value in pairs(by) do
    parts[#parts + 1] = '"' .. name .. '":' .. whole(value)
  end
  return '{{' .. table.concat(parts, ',') .. '}}'
end
local function tell(event, data)
  redis.call('XADD', part('events'), 'MAXLEN', '~', {EVENTS_KEPT}, '*', 'event', event,
    'data', data)
end
local function tell_progress()
  redis.call('HSET', run, 'told_at', whole(milliseconds()))
  tell('progress', '{{"status":"' .. field('status') .. '","progress":' .. progress() .. '}}')
end
local function tell_progress_now_and_then()
  if milliseconds() - number('told_at') >= {_PROGRESS_MS} then tell_progress() end
end

local function keep()
  redis.call('EXPIRE', run, {KEPT_SECONDS})
  for _, name in ipairs(PARTS) do redis.call('EXPIRE', part(name), {KEPT_SECONDS}) end
  -- The eval and the list of its runs live as long as any run of it.
  for _, name in ipairs({{'eval_key', 'runs_key'}}) do
    local key = field(name)
    if key then redis.call('EXPIRE', key, {KEPT_SECONDS}) end
  end
end
local function is_open(status) return status == 'queued' or status == 'running' end
local function finish(status, reason, error)
  redis.call('HSET', run, 'status', status, 'finished_at', whole(milliseconds() / 1000))
  if reason ~= '' then redis.call('HSET', run, 'reason', reason) end
  if error ~= '' then redis.call('HSET', run, 'error', error) end
  redis.call('ZREM', open, field('id'))
  keep()
  local why = 'null'
  if reason ~= '' then why = '"' .. reason .. '"' end
  tell('done', '{{"status":"' .. status .. '","reason":' .. why ..
    ',"progress":' .. progress() .. '}}')
end
local function finish_if_done()
  if number('left') > 0 or not is_open(field('status')) then return end
  local replied = number('judged') + number('undecoded')
  local done, total = replied + number('errored'), number('total')
  if done < total then
    finish('canceled', field('reason') or 'user', '')
  elseif total > 0 and replied == 0 then
    finish('failed', '', [[{NOTHING_JUDGED}]])
  else
    finish('completed', '', '')
  end
end
local function drop()
  for _, name in ipairs(PARTS) do redis.call('UNLINK', part(name)) end
  local content = field('content')
  if content and redis.call('GET', content) == field('id') then redis.call('DEL', content) end
  redis.call('ZREM', open, field('id'))
  redis.call('DEL', run)
  -- Who still works on it learns that it was deleted, and not lost.
  redis.call('HSET', run, 'status', 'deleted')
  redis.call('EXPIRE', run, {_DELETED_SECONDS})
end
"""


def script(body: str) -> str:
    """Return a whole script of a run."""
    return PRELUDE + body
