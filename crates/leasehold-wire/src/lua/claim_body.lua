
-- claim.lua, its second half: the decision.
local id, ttl = sub(ARGV[1], 1, 32), tonumber(ARGV[3])
-- As if it were made at 0.
local new = place_by(id, 0, match(ARGV[1], '^(%d+) (%d+) (%d+) (%d+) ?(%d*)$', 34))
local delay = new.delay
local waits, told = match(ARGV[2], '^(%d) ?(.*)$')

local function hold(value)
  local token, spare = take_token(new.spare)
  call('SET', LOCK, value, 'PX', format('%.0f', ttl + delay))
  withdraw(id, told)
  return { 1, token, spare }
end

-- Never shortens the lease, nor the delay behind it.
local function refresh(left, kept)
  local token = take_token(0)
  if delay > kept then call('SET', LOCK, marked(id, delay), 'KEEPTTL') end
  local whole = math.max(left - kept, ttl) + math.max(delay, kept)
  if whole ~= left then call('PEXPIRE', LOCK, format('%.0f', whole)) end
  withdraw(id, told)
  return { 1, token, 0 }
end

-- The place of this claim in the queue, if it has one that is not over, and when its entry was made, as text. An entry that was made
-- then is there unless the first was made later, or it is not by the clock of now. After the clock went back, the last may be older
-- than the first: then all are read.
local function standing()
  local made, since = read_told(told)
  if made then
    local first = made_at(0)
    if first and first <= made and made <= now() then
      local place = later_of(id, made) or { made = made, ask = 0, till = made + new.till }
      if place.till > now() then return place, match(told, '^%d+') end
    elseif first and made_at(-1) < first then
      since = 0
    end
  end
  local entry = since and search(id, since)
  local place = entry and place_of(entry.text)
  if place and place.till > now() then return place, sub(entry.text, 1, 16) end
end

-- Enters the queue, or lengthens the place in it, which keeps the latest end and the largest number. When the entry was made.
local function queue_up()
  local place, made = standing()
  local ask, till = new.ask, now() + new.till
  if place then
    ask, till = math.max(place.ask, ask), math.max(place.till, till)
  else
    made = format('%016.0f', now())
  end
  local rest = format(' %d %d ', ask, till - made) .. match(ARGV[1], '^%d+ %d+ (.*)$', 34)
  if place then
    call('HSET', PLACES, id, made .. rest)
    live_until(PLACES, till)
  else
    call('RPUSH', QUEUE, made .. ' ' .. id .. rest)
  end
  live_until(QUEUE, till)
  return made
end

local mark, holder, kept = read(value or '')
if holder == id then
  if mark ~= '' then return 4 end
  local left = call('PTTL', LOCK)
  -- With only the delay left, the lease is over, and its holder waits like everybody.
  if kept == 0 or left < 0 or left > kept then return refresh(left, kept) end
end
if not value then
  -- Without a queue nothing is written before the counter: with memory short, a new hold is refused.
  if call('EXISTS', QUEUE) == 0 then return hold(delay == 0 and id .. '+' or marked(id, delay)) end
  local place, cut_short = take_first(id)
  if cut_short then return 5 end
  if not place or place.claim == id then return hold(marked(id, delay)) end
  promote(place)
end
if waits ~= '1' then
  withdraw(id, told)
  return obstacle()
end
local made = queue_up()
if holder and value == holder .. '+' then call('APPEND', LOCK, '0') end
return format('%d', call('PTTL', LOCK)) .. ' ' .. made .. ' ' .. (value or call('GET', LOCK) or '')
