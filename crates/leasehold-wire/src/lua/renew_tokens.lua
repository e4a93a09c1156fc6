
-- renew.lua, put behind its first half: tokens are set aside.
if renewed then
  local time = call('TIME')
  local room = time[1] * 1000000 + time[2] - (tonumber(call('GET', COUNTER)) or 0)
  local count = string.format('%.0f', math.max(1, math.min(ARGV[4], room)))
  return { renewed, call('INCRBY', COUNTER, count), tonumber(count) }
end
