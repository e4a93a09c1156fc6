
-- queue.lua: what claim, release and renew share: the queue of a resource and the grant to its first waiter.
-- Put into the scripts that need it, behind their first half, which names call, LOCK, QUEUE, PLACES, COUNTER (keys) and
-- CHANNELS (what a client's channel begins with).
-- An entry of the queue is "<number of the ask that entered it> <claim>"; a place is
-- "<number at entry> <last ask> <until_us> <margin_us> <delay_ms>", and " <spare>" if the grant is to bring spare tokens. An entry without a place of the same number is dead.
local match, sub, format, floor = string.match, string.sub, string.format, math.floor

local now_us
local function now()
  if not now_us then
    local time = call('TIME')
    now_us = time[1] * 1000000 + time[2]
  end
  return now_us
end

local function place_of(claim)
  local text = call('HGET', PLACES, claim)
  if not text then return nil end
  local no, ask, till, margin, delay, spare = match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) ?(%d*)$')
  if not no then return nil end
  return {
    no = no, ask = ask, till = tonumber(till), margin = tonumber(margin), delay = tonumber(delay), spare = tonumber(spare) or 0,
  }
end

-- Lets `key` live until `till` (µs) at least, never shorter than it would; false if there is no such key.
local function live_until(key, till)
  local at = format('%.0f', floor(till / 1000) + 1)
  if call('PEXPIREAT', key, at, 'GT') == 1 then return true end
  local left = call('PTTL', key)
  if left == -2 then return false end
  -- GT takes a key without an end for one that never ends.
  if left == -1 then call('PEXPIREAT', key, at) end
  return true
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

local function is_dead(entry)
  local place = place_of(sub(entry, -32))
  return not place or place.no ~= sub(entry, 1, -34)
end

-- Takes the first waiter out of the queue that may be granted: nil if there is none. Second result: true if the work
-- was cut short. A waiter with less than its margin left keeps its place, unless it is `asker`, whose ask is just here.
-- `popped` is an entry that was taken out before, if any.
-- O(1) and one step for each dead or late entry passed, at most 100 of each: behind so many late ones it is as if nobody
-- waited, and they are granted by their next asks.
local function take_first(asker, popped)
  local late, late_until, dead, claim, place = {}, 0, 0, nil, nil
  while dead < 100 and #late < 100 do
    local entry = popped or call('LPOP', QUEUE)
    popped = nil
    if not entry then break end
    local who = sub(entry, -32)
    local its = place_of(who)
    if not its or its.no ~= sub(entry, 1, -34) then
      dead = dead + 1
    elseif its.till <= now() then
      call('HDEL', PLACES, who)
      dead = dead + 1
    elseif who == asker or its.till - now() >= its.margin then
      call('HDEL', PLACES, who)
      claim, place = who, its
      break
    else
      late[#late + 1] = entry
      if its.till > late_until then late_until = its.till end
    end
  end
  for i = #late, 1, -1 do call('LPUSH', QUEUE, late[i]) end
  -- Where all were taken out, the queue began anew, and never ends before the places. The clock goes on while a script runs, so
  -- it is read anew, and behind what is left of them.
  if #late > 0 then
    local left = call('PTTL', PLACES)
    now_us = nil
    live_until(QUEUE, math.max(late_until, now() + left * 1000))
  end
  return claim, place, not claim and dead >= 100
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
local function promote(claim, place)
  local token, spare = take_token(place.spare)
  call('SET', LOCK, claim .. '+' .. place.delay, 'PXAT', format('%.0f', floor(place.till / 1000) + place.delay))
  tell(claim, 'granted ' .. claim .. ' ' .. place.ask .. ' ' .. format('%.0f', token) .. ' ' .. spare)
end

-- Drops the dead entries, in order of the rest. O(entries), at most once per as many withdrawals.
local function compact()
  local entries, living = call('LRANGE', QUEUE, 0, -1), {}
  for _, entry in ipairs(entries) do
    if not is_dead(entry) then living[#living + 1] = entry end
  end
  local left = call('PTTL', QUEUE)
  call('DEL', QUEUE)
  for _, entry in ipairs(living) do call('RPUSH', QUEUE, entry) end
  if left > 0 then call('PEXPIRE', QUEUE, left) end
end

-- Gives up the place of `claim`; false if it has none. O(1) amortised.
local function withdraw(claim)
  if call('HDEL', PLACES, claim) == 0 then return false end
  local living = call('HLEN', PLACES)
  if living == 0 then
    call('DEL', QUEUE)
    return true
  end
  for _ = 1, 100 do
    local last = call('LINDEX', QUEUE, -1)
    if not last or not is_dead(last) then break end
    call('RPOP', QUEUE)
  end
  if call('LLEN', QUEUE) - living > living + 64 then compact() end
  return true
end

-- Who stands in the way, as busy or taken by another: 3, rest of the lease in ms (-1: it has no end, -2: nobody), value of the lock's key.
local function obstacle()
  return { 3, call('PTTL', LOCK), call('GET', LOCK) or '' }
end
