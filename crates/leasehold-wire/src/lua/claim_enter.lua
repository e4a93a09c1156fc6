-- claim.lua, put behind its keys: the ordinary way into the queue, before the functions of the other cases are even made. A first
-- ask has no place yet, and another holds. A queue and its places live until the latest place of theirs ends, and for as much as a
-- place's life more: so most asks only look whether that is long enough. The queue never ends before the places.
local value = call('GET', LOCK)
if value and ARGV[4] == '1' and ARGV[5] == '1' and not string.find(value, ARGV[1], 1, true) then
  local time = call('TIME')
  local us = time[2] + ARGV[6]
  local below_s = us % 1000000
  -- In two parts: a number of sixteen digits takes more than twice as long to write out.
  local till = string.format('%d%06d', time[1] + (us - below_s) / 1000000, below_s)
  local place = '1 1 ' .. till .. ' ' .. ARGV[7] .. ' ' .. ARGV[3]
  if ARGV[8] then place = place .. ' ' .. ARGV[8] end
  call('HSET', PLACES, ARGV[1], place)
  local alone = call('RPUSH', QUEUE, '1 ' .. ARGV[1]) == 1
  if alone and call('HLEN', PLACES) > 1 then
    -- The queue went without its places: nobody would find those, so their claims enter anew by their next asks.
    call('DEL', PLACES)
    call('HSET', PLACES, ARGV[1], place)
  end
  -- Places that were lost begin anew without an end, which is -1 here.
  if alone or call('PTTL', PLACES) <= ARGV[6] / 1000 then
    local life = string.format('%.0f', ARGV[6] / 500)
    -- The clock goes on while a script runs: what ends last comes last.
    call('PEXPIRE', PLACES, life)
    call('PEXPIRE', QUEUE, life)
  end
  -- A claim's bare value says from now on that somebody may wait.
  if string.len(value) == 33 and string.match(value, '^%x+%+$') then call('APPEND', LOCK, '0') end
  return string.format('%d', call('PTTL', LOCK)) .. ' ' .. value
end
