
-- queue.lua: what claim, release and renew share: the queue of a resource and the grant to its first waiter.
-- Put into the scripts that need it, behind their first half, which names call, LOCK, QUEUE, PLACES, COUNTER (keys) and CHANNELS (what a
-- client's channel begins with).
-- An entry of the queue is "<made_us> <claim> <last ask> <life_us> <margin_us> <delay_ms>", and " <spare>" if the grant is to
-- bring spare tokens. It is a claim's place for its life from when it was made. What later asks make of it stands in PLACES, a hash
-- by claim, as the entry without the claim. The entries are in the order they were made in, by which one is found again.
local match, sub, format, floor = string.match, string.sub, string.format, math.floor

local now_us
local function now()
  if not now_us then
    local time = call('TIME')
    now_us = time[1] * 1000000 + time[2]
  end
  return now_us
end

local function place_by(claim, made, ask, life, margin, delay, spare)
  if not made then return nil end
  return {
    claim = claim, made = tonumber(made), ask = tonumber(ask), till = made + life, margin = tonumber(margin),
    delay = tonumber(delay), spare = tonumber(spare) or 0,
  }
end

local function read_place(entry)
  return place_by(sub(entry, 18, 49), match(entry, '^(%d+) %x+ (%d+) (%d+) (%d+) (%d+) ?(%d*)$'))
end

-- What later asks have made of the place by the entry of `claim` that was `made` then; nil if there were none.
local function later_of(claim, made)
  local text = call('HGET', PLACES, claim)
  local later = text and place_by(claim, match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) ?(%d*)$'))
  return later and later.made == made and later or nil
end

-- The place of an entry of the queue; nil if it is none of ours. Second result: true if a later ask has lengthened it.
local function place_of(entry)
  local first = read_place(entry)
  local later = first and later_of(first.claim, first.made)
  return later or first, later ~= nil
end

-- Lets `key` live until `till` (µs) at least, never shorter than it would.
local function live_until(key, till)
  local left = call('PTTL', key)
  if left ~= -2 and left * 1000 <= till - now() then call('PEXPIREAT', key, format('%.0f', floor(till / 1000) + 1)) end
end

-- The value of a lock is "<claim>+". Where somebody may wait, or a delay is behind the lease, "<delay_ms>" follows, also for
-- no delay: an ordinary release compares with the bare value, and only where that fails does it pay for a look at the queue.
-- A mark that outlives its waiters costs that look once. A lock that was taken past the queue has none until the next ask.
-- The "+" is what tells it from foreign values: others write 32 digits too, and must find them as they wrote them.
local function marked(claim, delay)
  return claim .. '+' .. format('%.0f', delay)
end

-- Mark, claim and delay of a lock's value; nothing if it is a foreign client's.
local function read(value)
  local mark, claim, delay = match(value, '^([~!]?)(%x+)%+?(%d*)$')
  if claim and #claim == 32 then return mark, claim, tonumber(delay) or 0 end
end

-- An entry of the queue and where it is.
local function found(at, entry)
  return { at = at, text = entry }
end

-- The entry of `claim` that may have been made at any time `since` then (µs): O(entries that were).
local function search(claim, since)
  local last, count = call('LLEN', QUEUE) - 1, 16
  while last >= 0 do
    local first = math.max(last - count + 1, 0)
    local entries = call('LRANGE', QUEUE, first, last)
    for at = #entries, 1, -1 do
      if sub(entries[at], 18, 49) == claim and read_place(entries[at]) then return found(first + at - 1, entries[at]) end
    end
    if (tonumber(sub(entries[1], 1, 16)) or since) < since then return nil end
    last, count = first - 1, count * 4
  end
end

-- When the entry there was made; nil if there is none. Foreign ones were made at 0.
local function made_at(at)
  local entry = call('LINDEX', QUEUE, at)
  return entry and (tonumber(sub(entry, 1, 16)) or 0)
end

-- The entry of `claim` that was `made` then: O(log entries), by turns by a guess as if all had come evenly and by halves.
-- After the clock went back, entries are not in the order of their times until the older ones are gone. Where that shows at the
-- ends, they are all read; else an entry may not be found, and be left behind, which nobody lengthens and which ends with its life.
local function look_up(claim, made)
  local low, high, guesses = 0, call('LLEN', QUEUE) - 1, 0
  if high < 0 then return nil end
  local earliest, latest = made_at(low), made_at(high)
  if earliest > latest then return search(claim, 0) end
  while low <= high and earliest <= made and made <= latest do
    guesses = guesses + 1
    local share = guesses % 2 == 1 and latest > earliest and (made - earliest) / (latest - earliest) or 0.5
    local at = low + floor((high - low) * share)
    local entry = call('LINDEX', QUEUE, at)
    local its = tonumber(sub(entry, 1, 16)) or 0
    if its == made then return sub(entry, 18, 49) == claim and found(at, entry) or nil end
    if its < made then
      low, earliest = at + 1, its
    else
      high, latest = at - 1, its
    end
  end
end

-- What was told of a claim's entry: when it was made (µs), if that is known, and since when it may be another.
local function read_told(told)
  local made, since = match(told or '', '^(%d*)%??(%d*)$')
  return tonumber(made or ''), tonumber(since or '')
end

-- Gives up the place of `claim`, of whose entry so much was `told`; false if it has none. From the nearer end of the queue.
local function withdraw(claim, told)
  local made, since = read_told(told)
  if not made and not since then return false end
  local entry = made and look_up(claim, made) or since and search(claim, since)
  if entry then call('LREM', QUEUE, entry.at * 2 < call('LLEN', QUEUE) and 1 or -1, entry.text) end
  call('HDEL', PLACES, claim)
  return entry ~= nil
end

-- Takes the first waiter out of the queue that may be granted: nil if there is none. Second result: true if the work
-- was cut short. A waiter with less than its margin left keeps its place, unless it is `asker`, whose ask is just here.
-- `popped` is an entry that was taken out before, if any. Of `leaver`, which gives back, entries are dead.
-- O(1) and one step for each dead or late entry passed, at most 100 of each: behind so many late ones it is as if nobody
-- waited, and they are granted by their next asks.
local function take_first(asker, popped, leaver)
  local late, late_until, dead, first = {}, 0, 0, nil
  while dead < 100 and #late < 100 do
    local entry = popped or call('LPOP', QUEUE)
    popped = nil
    if not entry then break end
    local place, lengthened = place_of(entry)
    if not place or place.till <= now() or place.claim == leaver then
      dead = dead + 1
    elseif place.claim == asker or place.till - now() >= place.margin then
      first = place
    else
      late[#late + 1] = entry
      if place.till > late_until then late_until = place.till end
      place = nil
    end
    if place and lengthened then call('HDEL', PLACES, place.claim) end
    if first then break end
  end
  for i = #late, 1, -1 do call('LPUSH', QUEUE, late[i]) end
  -- Where all were taken out, the queue began anew.
  if #late > 0 then live_until(QUEUE, late_until) end
  return first, not first and dead >= 100
end

local function tell(claim, text)
  -- Without the right to publish, waiters find their grants by their next ask.
  redis.pcall('PUBLISH', CHANNELS .. sub(claim, 1, 16), text)
end

-- The token of a grant, and how many were set aside behind it: `spare`, or none where the counter would overtake the clock
-- that it is raised to. By `INCRBY` alone: so the server's statistics tell native claims, which are all `INCR`, from scripts.
local function take_token(spare)
  local token = call('INCRBY', COUNTER, '1')
  if spare == 0 or token + spare > now() then return token, 0 end
  call('INCRBY', COUNTER, spare)
  return token, spare
end

-- Makes a waiter the holder for the rest of its place. The counter first: if it fails, nothing is granted.
local function promote(place)
  local token, spare = take_token(place.spare)
  call('SET', LOCK, marked(place.claim, place.delay), 'PXAT', format('%.0f', floor(place.till / 1000) + 1 + place.delay))
  tell(place.claim, format('granted %s %.0f %.0f %d', place.claim, place.ask, token, spare))
end

-- Who stands in the way, as busy or taken by another: 3, rest of the lease in ms (-1: it has no end, -2: nobody), value of the lock's key.
local function obstacle()
  return { 3, call('PTTL', LOCK), call('GET', LOCK) or '' }
end
