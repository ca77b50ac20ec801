"""The scripts of working on a run: units taken, spread out, reserved for, committed, given back.

A unit of work is one entry of a run's stream: `a7` an answer, `r7` a review, `q7` all questions
from that one on, `x7-90` what reviews of these are not in the stream yet. Its other fields: `s`
the salt of its calls, `d` how often a process died with it, `k` how often one died that did
nothing else. An entry is pending for whoever works on it until the script that ends it; XACK
says whether it was, so a script that is sent twice does a thing once.
"""

from __future__ import annotations

from services.evaluator.jobs.scripts.prelude import KEPT_SECONDS, script
from services.evaluator.jobs.scripts.units import unit_script

POISON_AFTER = 3
"""So many deaths while it ran alone, and it is errored."""

# ARGV: consumer, the most units, stream. Returns the status, or `taken`, the round, whether
# there are limits, and the entries.
TAKE = script("""
local status = field('status')
if not is_open(status) then return {status or 'gone'} end
local deadline = number('deadline_at')
if deadline > 0 and milliseconds() >= deadline then
  finish('canceled', 'deadline', '')
  return {'canceled'}
end
local most, cap = tonumber(ARGV[2]), number('concurrency')
if cap > 0 or ARGV[3] == 'alone' then
  local alone = redis.call('XPENDING', part('alone'), GROUP)[1]
  if ARGV[3] == 'alone' and alone > 0 then return {'taken', 0, 0} end
  if cap > 0 then
    most = math.min(most, cap - redis.call('XPENDING', part('work'), GROUP)[1] - alone)
  end
  if most <= 0 then return {'busy'} end
end
local found = redis.call('XREADGROUP', 'GROUP', GROUP, ARGV[1], 'COUNT', most, 'STREAMS',
  part(ARGV[3]), '>')
if not found then return {'taken', 0, 0} end
if status == 'queued' then
  redis.call('HSET', run, 'status', 'running')
  redis.call('HSETNX', run, 'started_at', whole(milliseconds() / 1000))
  tell_progress()
end
return {'taken', number('round'), number('limited'), unpack(found[1][2])}
""")

# ARGV: consumer. What it has taken, whether or not the reply arrived.
MINE = script("""
if not field('status') or field('status') == 'deleted' then return {'gone'} end
local reply = {'taken', number('round'), number('limited')}
for _, name in ipairs({'work', 'alone'}) do
  local found = redis.call('XREADGROUP', 'GROUP', GROUP, ARGV[1], 'STREAMS', part(name), '0')
  if found then
    for _, entry in ipairs(found[1][2]) do
      if entry[2] then
        entry[3] = name
        reply[#reply + 1] = entry
      end
    end
  end
end
return reply
""")

# ARGV: entry, stream, number of candidates, of questions, first question, the one behind the
# last, then the numbers of their first reviews and of the one behind.
SPREAD_QUESTIONS = unit_script("""
if gone() then return {'gone'} end
if not ended(ARGV[2], ARGV[1]) then return {'done', 0} end
local width, count = tonumber(ARGV[3]), tonumber(ARGV[4])
local first, stop = tonumber(ARGV[5]), tonumber(ARGV[6])
local middle, added, asked = math.floor((first + stop) / 2), 0, 0
for question = first, stop - 1 do
  local from = question * width
  local letters = redis.call('GETRANGE', part('answer-states'), from, from + width - 1)
  if letters:find('%z') then
    asked = asked + feed('a', 'answer-states', from, letters, width)
  elseif not letters:find('[w%-]') then
    local place = 7 + question - first
    added = added + feed_reviews(tonumber(ARGV[place]), tonumber(ARGV[place + 1]) - 1)
  end
  -- In the middle, so that there is work while the rest is spread.
  if question == middle and stop < count then
    redis.call('XADD', part('work'), '*', 'u', 'q' .. whole(stop))
    added = added + 1
  end
end
if asked > 0 then redis.call('HINCRBY', run, 'answering', asked) end
return {'spread', added + asked}
""")

# ARGV: entry, stream, first review, last.
SPREAD_REVIEWS = unit_script("""
if gone() then return {'gone'} end
if not ended(ARGV[2], ARGV[1]) then return {'done', 0} end
return {'spread', feed_reviews(tonumber(ARGV[3]), tonumber(ARGV[4]))}
""")

# ARGV: entry, stream, unit, its number, its letter, record, event or '', of an answer the first
# and last answer and review of its question, of a review -1 and three more, then counters and
# what is added to each.
COMMIT = unit_script(f"""
if gone() then return {{'gone'}} end
if not ended(ARGV[2], ARGV[1]) then return {{'done', 0}} end
local place, letter, first = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[8])
local states, records, busy = 'review-states', 'results', 'judging'
if first >= 0 then states, records, busy = 'answer-states', 'answers', 'answering' end
redis.call('SETRANGE', part(states), place, letter)
redis.call('HSET', part(records), place, ARGV[6])
if redis.call('HLEN', part(records)) == 1 then
  redis.call('EXPIRE', part(records), {KEPT_SECONDS})
end
for i = 12, #ARGV, 2 do redis.call('HINCRBY', run, ARGV[i], ARGV[i + 1]) end
redis.call('HINCRBY', run, busy, -1)
redis.call('HINCRBY', run, 'left', -1)
settle(ARGV[3])
local added = 0
if first >= 0 and answers_there(first, tonumber(ARGV[9])) then
  added = feed_reviews(tonumber(ARGV[10]), tonumber(ARGV[11]))
end
local status = field('status')
-- After the end nothing is told any more, though what was in work is kept.
if is_open(status) then
  if ARGV[7] ~= '' then tell('item', ARGV[7]) end
  local most = number('fail_at')
  if letter == 'e' and most > 0 and number('errored') >= most then
    finish('failed', '', string.format('%d items errored, and the run was to fail then.',
      number('errored')))
  elseif number('left') <= 0 then
    finish_if_done()
  else
    tell_progress_now_and_then()
  end
end
return {{'committed', added}}
""")

# A review whose answers are not all there: they are asked for again. ARGV: entry, stream,
# number, first and last answer of its question.
POSTPONE = unit_script(r"""
if gone() then return {'gone'} end
if not ended(ARGV[2], ARGV[1]) then return {'done', 0} end
local place = tonumber(ARGV[3])
redis.call('SETRANGE', part('review-states'), place, '\0')
redis.call('HINCRBY', run, 'judging', -1)
settle('r' .. ARGV[3])
if answers_there(tonumber(ARGV[4]), tonumber(ARGV[5])) then
  return {'postponed', feed_reviews(place, place)}
end
return {'postponed', 0}
""")

# ARGV: entry, stream, unit, calls, judge calls, tokens, cost, 1 if a price is unknown, 1 if the
# unit has made calls already. Without room the unit goes back, unless it has made calls.
RESERVE = unit_script("""
local status = field('status')
if not status or status == 'deleted' then return {'gone'} end
local mine, held, refused = reserved(ARGV[3]), {}, false
local LIMITS = {'max_calls', 'max_judge_calls', 'max_tokens', 'max_cost'}
local USED = {{'calls'}, {'calls'}, {'prompt_tokens', 'completion_tokens'}, {'cost'}}
for i, limit in ipairs(LIMITS) do
  held[i] = number(HELD[i])
  local most, want = field(limit), tonumber(ARGV[3 + i])
  if most then
    local used = 0
    for _, what in ipairs(USED[i]) do
      used = used + number('judge_' .. what)
      if limit ~= 'max_judge_calls' then used = used + number('answer_' .. what) end
    end
    -- What asks for nothing of a limit cannot go over it.
    if want > 0 and used + held[i] - mine[i] + want > tonumber(most) then refused = true end
  end
end
if ARGV[8] == '1' then redis.call('HSET', run, 'unpriced', 1) end
if (refused or not is_open(status)) and ARGV[9] == '1' then return {'refused'} end
if refused or not is_open(status) then
  local entry = redis.call('XRANGE', part(ARGV[2]), ARGV[1], ARGV[1])[1]
  if entry then again(ARGV[2], entry, ARGV[2], {}) end
  settle(ARGV[3])
  if refused and is_open(status) and redis.call('HLEN', part('reserved')) == 0 then
    finish('canceled', 'budget', '')
  end
  return {'back'}
end
local values = {}
for i, name in ipairs(HELD) do
  values[i] = ARGV[3 + i]
  redis.call('HINCRBY', run, name, whole(tonumber(ARGV[3 + i]) - mine[i]))
end
redis.call('HSET', part('reserved'), ARGV[3], table.concat(values, ' '))
return {'reserved'}
""")
