-- claim.lua, put behind the keys: the ordinary ways to wait, before the functions of the other cases are even made. Another holds, and
-- it is a first ask, which has no entry yet, or a later one of a waiter whose entry is known and whose place is not over. Who waits
-- asks again and again, so that is most of what a long queue costs.
local value = call('GET', LOCK)
local another_holds = value and not string.find(value, string.sub(ARGV[1], 1, 32), 1, true)
-- When the entry was made, and the life of a place.
local made, life_us
if another_holds and ARGV[2] == '1' then
  local time = call('TIME')
  made, life_us = time[1] .. string.format('%06d', time[2]), string.match(ARGV[1], '^%d+ (%d+)', 34)
  call('RPUSH', QUEUE, made .. ' ' .. ARGV[1])
elseif another_holds then
  local known = string.match(ARGV[2], '^1 (%d+)$')
  local first = known and call('LINDEX', QUEUE, 0)
  -- An entry that was made then is there unless the first was made later.
  if first and (tonumber(string.sub(first, 1, 16)) or 0) <= known + 0 then
    local id, ask, life, terms = string.match(ARGV[1], '^(%x+) (%d+) (%d+)(.*)$')
    local time, later = call('TIME'), call('HGET', PLACES, id)
    local age = time[1] * 1000000 + time[2] - known
    local last, lasts = string.match(later or '', '^' .. known .. ' (%d+) (%d+) ')
    last, lasts = last or 0, lasts or life
    -- What was overtaken, or would end the place earlier, or is of a time to come, is not ordinary.
    if 0 <= age and age < lasts + 0 and last + 0 < ask + 0 and lasts + 0 <= age + life then
      made, life_us = known, life
      call('HSET', PLACES, id, made .. ' ' .. ask .. ' ' .. string.format('%.0f', age + life) .. terms)
      if call('PTTL', PLACES) <= life / 1000 then call('PEXPIRE', PLACES, string.format('%.0f', life / 500)) end
    end
  end
end
if made then
  -- A queue lives until the latest place ends, and for as much as a place's life more: so most asks only look whether that is long
  -- enough. One that began anew has no end yet, which is -1 here.
  if call('PTTL', QUEUE) <= life_us / 1000 then call('PEXPIRE', QUEUE, string.format('%.0f', life_us / 500)) end
  -- A claim's bare value says from now on that somebody may wait.
  if string.len(value) == 33 and string.match(value, '^%x+%+$') then call('APPEND', LOCK, '0') end
  return string.format('%d', call('PTTL', LOCK)) .. ' ' .. made .. ' ' .. value
end
