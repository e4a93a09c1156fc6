-- claim.lua, put behind its first lines: the ordinary way into the queue, before the functions of the other cases are even made.
-- A first ask has no entry yet, and another holds. A queue lives until the latest place ends, and for as much as a place's life
-- more: so most asks only look whether that is long enough.
local value = call('GET', LOCK)
if value and ARGV[2] == '1' and not string.find(value, string.sub(ARGV[1], 1, 32), 1, true) then
  local time = call('TIME')
  local made = time[1] .. string.format('%06d', time[2])
  call('RPUSH', QUEUE, made .. ' ' .. ARGV[1])
  local life_us = string.match(ARGV[1], '^%d+ (%d+)', 34)
  -- A queue that began anew has no end yet, which is -1 here.
  if call('PTTL', QUEUE) <= life_us / 1000 then call('PEXPIRE', QUEUE, string.format('%.0f', life_us / 500)) end
  -- A claim's bare value says from now on that somebody may wait.
  if string.len(value) == 33 and string.match(value, '^%x+%+$') then call('APPEND', LOCK, '0') end
  return string.format('%d', call('PTTL', LOCK)) .. ' ' .. made .. ' ' .. value
end
