"""The scripts of a run's life: made, cancelled, resumed, deleted; and an eval's."""

from __future__ import annotations

from services.evaluator.jobs.scripts.prelude import KEPT_SECONDS, script

# KEYS[3]: the eval; KEYS[4]: its runs; KEYS[5]: the key of the run's content.
# ARGV: run id, forced, most runs of an eval, most open runs, score, packed spec, states of
# answers, reviews, deadline in ms or 0, then fields and values of the hash.
CREATE_RUN = script(f"""
local id, forced = ARGV[1], ARGV[2]
if redis.call('EXISTS', KEYS[3]) == 0 then return {{'gone'}} end
local found = redis.call('GET', KEYS[5])
if found and forced ~= '1' and redis.call('ZSCORE', KEYS[4], found) then
  return {{'found', found}}
end
if redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[3]) then return {{'full', 'runs'}} end
if redis.call('ZCARD', open) >= tonumber(ARGV[4]) then return {{'full', 'open'}} end
local now = milliseconds()
redis.call('HSET', run, 'id', id, 'status', 'queued', 'content', KEYS[5], 'since', whole(now),
  'eval_key', KEYS[3], 'runs_key', KEYS[4])
for i = 10, #ARGV, 2 do redis.call('HSET', run, ARGV[i], ARGV[i + 1]) end
if tonumber(ARGV[9]) > 0 then
  redis.call('HSET', run, 'deadline_at', whole(now + tonumber(ARGV[9])))
end
redis.call('SET', part('spec'), ARGV[6])
redis.call('SET', part('answer-states'), ARGV[7])
redis.call('SET', part('review-states'), '')
if tonumber(ARGV[8]) > 0 then
  redis.call('SETRANGE', part('review-states'), tonumber(ARGV[8]) - 1, '\\0')
end
redis.call('XGROUP', 'CREATE', part('work'), GROUP, '0', 'MKSTREAM')
redis.call('XGROUP', 'CREATE', part('alone'), GROUP, '0', 'MKSTREAM')
redis.call('XADD', part('work'), '*', 'u', 'q0')
redis.call('ZADD', KEYS[4], ARGV[5], id)
redis.call('ZADD', open, ARGV[5], id)
redis.call('SET', KEYS[5], id, 'EX', {KEPT_SECONDS})
tell_progress()
keep()
finish_if_done()
return {{'made', id}}
""")

# ARGV: the reason.
CANCEL = script("""
local status = field('status')
if not status or status == 'deleted' then return {'gone'} end
if is_open(status) then finish('canceled', ARGV[1], '') end
return {'over'}
""")

# ARGV: the error.
FAIL = script("""
local status = field('status')
if not status or status == 'deleted' then return {'gone'} end
if is_open(status) then finish('failed', '', ARGV[1]) end
return {'over'}
""")

DELETE_RUN = script("""
local status = field('status')
if not status or status == 'deleted' then return {'gone'} end
if is_open(status) then return {'open'} end
drop()
return {'deleted'}
""")

# What is resumed is read off the states: errored ones, undecoded ones, or all that is left.
# Entries that nobody has taken are dropped, since the states say the same; those in work stay
# with whoever works on them, a dead process's too, and are taken from it later.
# ARGV: what, most open runs, limits as JSON, milliseconds to the deadline or 0, then names and
# values of the limits' fields.
RESUME = script(r"""
local only = ARGV[1]
local status = field('status')
if not status or status == 'deleted' then return {'gone'} end
if is_open(status) then return {'open'} end
if redis.call('ZCARD', open) >= tonumber(ARGV[2]) then return {'full'} end

local function undelivered(stream)
  local groups = redis.call('XINFO', 'GROUPS', stream)
  local last = '0-0'
  for i = 1, #groups[1], 2 do
    if groups[1][i] == 'last-delivered-id' then last = groups[1][i + 1] end
  end
  for _, entry in ipairs(redis.call('XRANGE', stream, '(' .. last, '+')) do
    redis.call('XDEL', stream, entry[1])
  end
end
local in_work = {}
local function delivered(stream)
  local pending = redis.call('XPENDING', stream, GROUP)[1]
  if pending == 0 then return end
  for _, each in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', pending)) do
    local entry = redis.call('XRANGE', stream, each[1], each[1])[1]
    if entry then
      local fields = entry[2]
      for i = 1, #fields, 2 do
        if fields[i] == 'u' then in_work[fields[i + 1]] = true end
      end
    end
  end
end
for _, name in ipairs({'work', 'alone'}) do
  undelivered(part(name))
  delivered(part(name))
end

local answers = redis.call('GET', part('answer-states')) or ''
local reviews = redis.call('GET', part('review-states')) or ''
local round = redis.call('HINCRBY', run, 'round', 1)
local function back(states)
  if only == 'all_missing' then return (states:gsub('[w%-]', '\0')) end
  return (states:gsub('[w%z]', '-'))
end
local function salt(states)
  local place = states:find('u', 1, true)
  while place do
    redis.call('HSET', part('salts'), 'r' .. (place - 1), round)
    place = states:find('u', place + 1, true)
  end
end
answers, reviews = back(answers), back(reviews)
if only ~= 'undecoded' then
  answers, reviews = answers:gsub('e', '\0'), reviews:gsub('e', '\0')
end
if only ~= 'errored' then
  salt(reviews)
  reviews = reviews:gsub('u', '\0')
end
local function count(states, letters) return select(2, states:gsub(letters, '')) end
local left, answering, judging = count(answers, '%z') + count(reviews, '%z'), 0, 0
redis.call('SET', part('answer-states'), answers)
redis.call('SET', part('review-states'), reviews)
for unit in pairs(in_work) do
  local kind, place = unit:sub(1, 1), tonumber(unit:sub(2))
  local name = nil
  if kind == 'a' then name, answering = 'answer-states', answering + 1 end
  if kind == 'r' then name, judging = 'review-states', judging + 1 end
  if name then
    if redis.call('GETRANGE', part(name), place, place) ~= '\0' then left = left + 1 end
    redis.call('SETRANGE', part(name), place, 'w')
  end
end
local reviewed = field('reviewed') == '1'
local items = reviewed and reviews or answers
local passed, failed = count(items, 'p'), count(items, 'f')
redis.call('HSET', run, 'status', 'queued', 'since', whole(milliseconds()), 'left', left,
  'left_at_first', left, 'answering', answering, 'judging', judging,
  'answered', count(answers, '[ag]'), 'answer_errors', count(answers, 'e'),
  'errored', count(items, 'e'), 'undecoded', count(items, 'u'),
  'judged', count(items, '[jpfag]'), 'passed', passed, 'failed', failed)
redis.call('HDEL', run, 'error', 'finished_at', 'deadline_at')

-- Reservations of units that nobody works on are given back.
local held = {0, 0, 0, 0}
for i, pair in ipairs(redis.call('HGETALL', part('reserved'))) do
  if i % 2 == 1 then
    if in_work[pair] then
      local place = 0
      for value in redis.call('HGET', part('reserved'), pair):gmatch('%S+') do
        place = place + 1
        held[place] = held[place] + tonumber(value)
      end
    else
      redis.call('HDEL', part('reserved'), pair)
    end
  end
end
for place, name in ipairs({'held_calls', 'held_judge_calls', 'held_tokens', 'held_cost'}) do
  redis.call('HSET', run, name, whole(held[place]))
end
redis.call('HDEL', run, 'max_calls', 'max_judge_calls', 'max_tokens', 'max_cost', 'limited')
redis.call('HSET', run, 'limits', ARGV[3])
for i = 5, #ARGV, 2 do redis.call('HSET', run, ARGV[i], ARGV[i + 1]) end
if tonumber(ARGV[4]) > 0 then
  redis.call('HSET', run, 'deadline_at', whole(milliseconds() + tonumber(ARGV[4])))
end
redis.call('ZADD', open, field('created_at'), field('id'))
redis.call('XADD', part('work'), '*', 'u', 'q0')
tell_progress()
keep()
finish_if_done()
return {'resumed'}
""")

# KEYS: the eval, evals, the key of its content. ARGV: eval id, forced, most evals, score, head,
# questions, content. No run's script.
CREATE_EVAL = f"""
local found = redis.call('GET', KEYS[3])
if found and ARGV[2] ~= '1' and redis.call('ZSCORE', KEYS[2], found) then
  return {{'found', found}}
end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then return {{'full'}} end
redis.call('HSET', KEYS[1], 'head', ARGV[5], 'questions', ARGV[6], 'content', KEYS[3])
redis.call('EXPIRE', KEYS[1], {KEPT_SECONDS})
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
redis.call('SET', KEYS[3], ARGV[1], 'EX', {KEPT_SECONDS})
return {{'made', ARGV[1]}}
"""

# KEYS: the eval, the key of its new content. ARGV: eval id, head.
UPDATE_EVAL = f"""
local content = redis.call('HGET', KEYS[1], 'content')
if not content then return {{'gone'}} end
if redis.call('GET', content) == ARGV[1] then redis.call('DEL', content) end
redis.call('HSET', KEYS[1], 'head', ARGV[2], 'content', KEYS[2])
redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', {KEPT_SECONDS})
return {{'updated'}}
"""

# KEYS: the eval, evals, its runs, open runs. ARGV: eval id. Its runs are deleted before.
DELETE_EVAL = """
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  if redis.call('ZSCORE', KEYS[4], id) then return {'open'} end
end
local content = redis.call('HGET', KEYS[1], 'content')
if content and redis.call('GET', content) == ARGV[1] then redis.call('DEL', content) end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return {redis.call('DEL', KEYS[1]) == 1 and 'deleted' or 'gone'}
"""

# ARGV: the review's number, what stood there, what shall stand there, its letter. `changed`:
# somebody else was quicker.
OVERRIDE = script(r"""
if not field('status') or field('status') == 'deleted' then return {'gone'} end
local place = tonumber(ARGV[1])
local states = part('review-states')
local before = redis.call('GETRANGE', states, place, place)
if before == '\0' or before == 'w' or before == '-' then return {'pending'} end
if (redis.call('HGET', part('overrides'), place) or '') ~= ARGV[2] then return {'changed'} end
redis.call('HSET', part('overrides'), place, ARGV[3])
redis.call('SETRANGE', states, place, ARGV[4])
local NAMES = {e = {'errored'}, u = {'undecoded'}, j = {'judged'}, p = {'judged', 'passed'},
  f = {'judged', 'failed'}}
for _, name in ipairs(NAMES[before] or {}) do redis.call('HINCRBY', run, name, -1) end
for _, name in ipairs(NAMES[ARGV[4]] or {}) do redis.call('HINCRBY', run, name, 1) end
keep()
return {'written'}
""")
