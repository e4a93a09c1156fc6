
-- claim.lua, its second half: the decision.
local id, ttl, delay, ask = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local function hold(value)
  local token, spare = take_token(tonumber(ARGV[8]) or 0)
  call('SET', LOCK, value, 'PX', format('%.0f', ttl + delay))
  withdraw(id)
  return { 1, token, spare }
end

-- Never shortens the lease, nor the delay behind it.
local function refresh(left, kept)
  local token = take_token(0)
  if delay > kept then call('SET', LOCK, marked(id, delay), 'KEEPTTL') end
  local whole = math.max(left - kept, ttl) + math.max(delay, kept)
  if whole ~= left then call('PEXPIRE', LOCK, format('%.0f', whole)) end
  withdraw(id)
  return { 1, token, 0 }
end

-- Enters the queue or refreshes the place in it, which keeps the latest end and the largest number.
local function queue_up()
  local till, last, no = now() + tonumber(ARGV[6]), ask, ask
  local place = place_of(id)
  if place and place.till > now() then
    no = place.no
    if place.till > till then till = place.till end
    if tonumber(place.ask) > tonumber(ask) then last = place.ask end
  end
  local text = no .. ' ' .. last .. ' ' .. format('%.0f', till) .. ' ' .. ARGV[7] .. ' ' .. ARGV[3]
  if ARGV[8] then text = text .. ' ' .. ARGV[8] end
  call('HSET', PLACES, id, text)
  local entry, alone = no .. ' ' .. id, false
  local entered = place and place.no == no
  if not entered then alone = call('RPUSH', QUEUE, entry) == 1 end
  if not live_until(QUEUE, till) then
    alone = call('RPUSH', QUEUE, entry) == 1
    live_until(QUEUE, till)
  end
  -- The queue went without its places: nobody would find those, so their claims enter anew by their next asks.
  if alone then
    call('DEL', PLACES)
    call('HSET', PLACES, id, text)
  end
  live_until(PLACES, till)
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
  local claim, place, cut_short = take_first(id)
  if cut_short then return 5 end
  if not claim or claim == id then return hold(marked(id, delay)) end
  promote(claim, place)
end
if ARGV[5] ~= '1' then
  withdraw(id)
  return obstacle()
end
queue_up()
if holder and value == holder .. '+' then call('APPEND', LOCK, '0') end
return format('%d', call('PTTL', LOCK)) .. ' ' .. (call('GET', LOCK) or '')
