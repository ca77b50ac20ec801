"""The Lua scripts of the call store: each checks and writes in one step.

A call has a record (fingerprint, head and body or the name of a blob), a claim while it is being
made, an intent (how often it was begun and its end is not known: taken back when its answer is
stored, or surely none was made), and an account: when it was stored (two sorted sets, for all
calls and for those with a blob) and how many bytes it takes (a hash), with totals. Records expire by themselves; their
accounts are settled by the next call that is stored. Owns nothing but the scripts' text.
"""

from __future__ import annotations

# KEYS[1..5]: calls, calls with blobs, sizes, totals, store id. ARGV[1]: prefix of record names.
# `drop` forgets one call and notes the name of its blob, which is then nobody's.
_ACCOUNTS = """
local calls, in_blobs, sizes, totals, store_id = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local blobs = {}
local function drop(slot)
  redis.call('DEL', ARGV[1] .. slot)
  redis.call('ZREM', calls, slot)
  redis.call('ZREM', in_blobs, slot)
  local told = redis.call('HGET', sizes, slot)
  if not told then return end
  local bytes, blob_bytes, blob = string.match(told, '^(%d+) (%d+) (.*)$')
  redis.call('HDEL', sizes, slot)
  redis.call('HINCRBY', totals, 'records', 0 - bytes)
  redis.call('HINCRBY', totals, 'blobs', 0 - blob_bytes)
  if blob ~= '' then blobs[#blobs + 1] = slot .. '.' .. blob end
end
local function total(kind) return tonumber(redis.call('HGET', totals, kind) or '0') end
"""

# KEYS[6]: record, KEYS[7]: claim, KEYS[8]: intent. ARGV[2]: slot, fingerprint, token, lease in ms,
# a store id to take if there is none yet, the SHA-1 of a record that the caller cannot use, or
# nothing, ms to keep an intent.
# Returns a word, the store id, and the record, the claim's ms left, or how often the call was
# begun before and may have been made.
TAKE = f"""
{_ACCOUNTS}
local slot, fingerprint, token, lease, new_id, useless, kept = unpack(ARGV, 2)
local id = redis.call('GET', store_id)
if not id then
  redis.call('SET', store_id, new_id)
  id = new_id
end
local record = redis.call('GET', KEYS[6])
if record and useless == redis.sha1hex(record) then
  drop(slot)
  redis.call('INCR', KEYS[8])
  record = false
end
if record then
  if string.sub(record, 1, #fingerprint) ~= fingerprint then return {{'reused', id}} end
  return {{'stored', id, record}}
end
local mine = fingerprint .. token
if redis.call('SET', KEYS[7], mine, 'NX', 'PX', lease) then
  local begun = redis.call('INCR', KEYS[8])
  redis.call('PEXPIRE', KEYS[8], kept)
  return {{'held', id, begun - 1}}
end
local holder = redis.call('GET', KEYS[7])
if holder == mine then
  redis.call('PEXPIRE', KEYS[7], lease)
  return {{'held', id, tonumber(redis.call('GET', KEYS[8]) or '1') - 1}}
end
if string.sub(holder, 1, #fingerprint) ~= fingerprint then return {{'reused', id}} end
return {{'busy', id, redis.call('PTTL', KEYS[7])}}
"""

# KEYS[6]: record, KEYS[7]: claim, KEYS[8]: intent. ARGV[2]: slot, fingerprint, token, record, its
# bytes, blob or nothing, its bytes, ms to keep, most bytes of records, most bytes of blobs, most to drop.
# Whoever stores first has stored: a holder that lost its claim may still bring its answer, if no
# other one is there and the slot was not taken for another body.
# Returns a word, totals of records and blobs, how many gave way, and the blobs that nobody needs.
STORE = f"""
{_ACCOUNTS}
local slot, fingerprint, token, record, bytes, blob, blob_bytes, ttl, most, most_blobs, most_drops =
  unpack(ARGV, 2)
ttl, most_drops = tonumber(ttl), tonumber(most_drops)
local gave_way = 0
local holder, there = redis.call('GET', KEYS[7]), redis.call('GET', KEYS[6])
local other = holder and string.sub(holder, 1, #fingerprint) ~= fingerprint
if other or there then
  if holder == fingerprint .. token then redis.call('DEL', KEYS[7]) end
  -- The same record: this was asked before, and the reply was lost on its way.
  return {{there == record and 'stored' or 'lost', total('records'), total('blobs'), 0}}
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function at(moment) return string.format('%.0f', moment) end
drop(slot)
local old = redis.call('ZRANGEBYSCORE', calls, '-inf', at(now - ttl * 1000), 'LIMIT', 0, most_drops)
for _, expired in ipairs(old) do drop(expired) end
local function make_room(index, kind, room)
  while total(kind) > room and gave_way < most_drops do
    local oldest = redis.call('ZRANGE', index, 0, 0)[1]
    if not oldest then redis.call('HSET', totals, kind, 0) return end
    drop(oldest)
    gave_way = gave_way + 1
  end
end
make_room(in_blobs, 'blobs', most_blobs - blob_bytes)
make_room(calls, 'records', most - bytes)
redis.call('SET', KEYS[6], record, 'PX', ttl)
redis.call('DEL', KEYS[8])
redis.call('ZADD', calls, at(now), slot)
if blob ~= '' then redis.call('ZADD', in_blobs, at(now), slot) end
redis.call('HSET', sizes, slot, bytes .. ' ' .. blob_bytes .. ' ' .. blob)
redis.call('HINCRBY', totals, 'records', bytes)
redis.call('HINCRBY', totals, 'blobs', blob_bytes)
if holder then redis.call('DEL', KEYS[7]) end
return {{'stored', total('records'), total('blobs'), gave_way, unpack(blobs)}}
"""

# KEYS: claims, each with its intent. ARGV: lease in ms, ms to keep an intent, then what each claim
# should hold. A claim that ran out and was taken by nobody is taken up again.
RENEW = """
local words = {}
for place = 1, #KEYS / 2 do
  local name, intent = KEYS[2 * place - 1], KEYS[2 * place]
  local mine, holder = ARGV[place + 2], redis.call('GET', name)
  if holder == mine then
    redis.call('PEXPIRE', name, ARGV[1])
    words[place] = 'held'
  elseif not holder then
    redis.call('SET', name, mine, 'PX', ARGV[1])
    redis.call('SET', intent, 1, 'NX', 'PX', ARGV[2])
    words[place] = 'again'
  else
    words[place] = 'lost'
  end
end
return words
"""

# KEYS[1]: claim, KEYS[2]: intent. ARGV: what the claim should hold, 1 if no answer was made.
RELEASE = """
if ARGV[2] == '1' and redis.call('DECR', KEYS[2]) <= 0 then redis.call('DEL', KEYS[2]) end
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

# KEYS[1]: sizes, KEYS[2]: store id. ARGV[1]: a store id to take if there is none, then slots.
# Returns the store id, whether it was there before, and the slots' blobs.
BLOBS_OF = """
local id = redis.call('GET', KEYS[2])
if not id then redis.call('SET', KEYS[2], ARGV[1]) end
local told = {id or ARGV[1], id and 1 or 0}
for place = 2, #ARGV do
  local size = redis.call('HGET', KEYS[1], ARGV[place]) or ''
  told[place + 1] = string.match(size, ' (%S*)$') or ''
end
return told
"""
