"""What the scripts about units of work have in common: feeding, ending, reservations.

Owns how a unit comes into the stream and leaves it.
"""

from __future__ import annotations

from services.evaluator.jobs.scripts.prelude import script

_FEED, _WINDOW = 64, 4096

_WORK = f"""
local function fields_of(entry)
  local by = {{}}
  for i = 1, #entry[2], 2 do by[entry[2][i]] = entry[2][i + 1] end
  return by
end
local function add(unit)
  local salt = false
  if number('round') > 0 then salt = redis.call('HGET', part('salts'), unit) end
  if salt then
    redis.call('XADD', part('work'), '*', 'u', unit, 's', salt)
  else
    redis.call('XADD', part('work'), '*', 'u', unit)
  end
end
local function feed(kind, name, first, letters, most)
  local added, place = 0, letters:find('%z')
  while place and added < most do
    add(kind .. whole(first + place - 1))
    letters = letters:sub(1, place - 1) .. 'w' .. letters:sub(place + 1)
    added = added + 1
    place = letters:find('%z', place + 1)
  end
  if added > 0 then redis.call('SETRANGE', part(name), first, letters) end
  return added, place
end
local function feed_reviews(first, last)
  if last < first then return 0 end
  local stop = math.min(last, first + {_WINDOW})
  local letters = redis.call('GETRANGE', part('review-states'), first, stop)
  local added, place = feed('r', 'review-states', first, letters, {_FEED})
  if added > 0 then redis.call('HINCRBY', run, 'judging', added) end
  local rest = place and first + place - 1 or stop + 1
  if rest <= last then
    redis.call('XADD', part('work'), '*', 'u', 'x' .. whole(rest) .. '-' .. whole(last))
    added = added + 1
  end
  return added
end
local function answers_there(first, last)
  return not redis.call('GETRANGE', part('answer-states'), first, last):find('[%zw%-]')
end
local function ended(stream, id)
  if redis.call('XACK', part(stream), GROUP, id) == 0 then return false end
  redis.call('XDEL', part(stream), id)
  return true
end
local function again(from, entry, to, changes)
  local by, flat = fields_of(entry), {{}}
  for name, value in pairs(changes) do by[name] = value end
  for name, value in pairs(by) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('XADD', part(to), '*', unpack(flat))
  ended(from, entry[1])
end
local HELD = {{'held_calls', 'held_judge_calls', 'held_tokens', 'held_cost'}}
local function reserved(unit)
  local found, values = redis.call('HGET', part('reserved'), unit), {{0, 0, 0, 0}}
  if found then
    local place = 0
    for value in found:gmatch('%S+') do
      place = place + 1
      values[place] = tonumber(value)
    end
  end
  return values, found
end
local function settle(unit)
  local values, found = reserved(unit)
  if not found then return end
  redis.call('HDEL', part('reserved'), unit)
  for i, name in ipairs(HELD) do redis.call('HINCRBY', run, name, whole(-values[i])) end
end
local function gone()
  local status = field('status')
  return not status or status == 'deleted'
end
"""


def unit_script(body: str) -> str:
    """Return a whole script about units of a run."""
    return script(_WORK + body)
