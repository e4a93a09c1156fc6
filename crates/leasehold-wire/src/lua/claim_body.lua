
-- claim.lua, its second half: the decision.
local id, ttl, delay, ask = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local function hold()
  local token = call('INCR', COUNTER)
  call('SET', LOCK, id, 'PX', format('%.0f', ttl + delay))
  withdraw(id)
  return { 1, token }
end

local function refresh(left)
  local token = call('INCR', COUNTER)
  if left < ttl + delay then call('PEXPIRE', LOCK, format('%.0f', ttl + delay)) end
  withdraw(id)
  return { 1, token }
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
  call('HSET', PLACES, id, text)
  local entered = place and place.no == no
  if not entered then call('RPUSH', QUEUE, no .. ' ' .. id) end
  live_until(PLACES, till)
  -- The queue may have gone without the places: enter anew.
  if not live_until(QUEUE, till) then
    call('RPUSH', QUEUE, no .. ' ' .. id)
    live_until(QUEUE, till)
  end
end

local value = call('GET', LOCK)
if value == '~' .. id or value == '!' .. id then return 4 end
if value == id then
  local left = call('PTTL', LOCK)
  -- With only the delay left, the lease is over, and its holder waits like everybody.
  if left < 0 or left > delay then return refresh(left) end
end
if not value then
  local claim, place, cut_short = take_first(id)
  if cut_short then return 5 end
  if not claim or claim == id then return hold() end
  promote(claim, place)
end
if ARGV[5] ~= '1' then
  withdraw(id)
  return obstacle(3)
end
queue_up()
return obstacle(2)
