
-- release.lua, put behind its first half: the ordinary hand-off, to a first waiter with enough of its place left. Everybody waits
-- for it, so it comes before the functions of the other cases are even made. They go on with the entry that was popped here. A
-- holder without a delay has no place of its own to give up.
if entry then
  local claim = string.sub(entry, -32)
  local place = call('HGET', PLACES, claim)
  if place then
    local no, ask, till, margin, spare = string.match(place, '^(%d+) (%d+) (%d+) (%d+) 0 ?(%d*)$')
    local time = call('TIME')
    local now = time[1] * 1000000 + time[2]
    if no == string.sub(entry, 1, -34) and till - now >= margin + 0 then
      -- The counter first: if it fails, nothing is granted.
      local token = call('INCRBY', COUNTER, '1')
      if spare == '' or token + spare > now then
        spare = '0'
      else
        call('INCRBY', COUNTER, spare)
      end
      call('HDEL', PLACES, claim)
      -- Microseconds without their last three digits are whole milliseconds.
      call('SET', LOCK, claim .. '+0', 'PXAT', string.sub(till, 1, -4))
      -- A server writes last to whom it had something to tell first. Without a word ahead that is the next holder, and it is
      -- written to only after the releaser, which has its answer last.
      local own, next = string.sub(ARGV[1], 1, 16), string.sub(claim, 1, 16)
      if own ~= next then redis.pcall('PUBLISH', CHANNELS .. own, '') end
      redis.pcall('PUBLISH', CHANNELS .. next, 'granted ' .. claim .. ' ' .. ask .. ' ' .. string.format('%.0f', token) .. ' ' .. spare)
      return 1
    end
  end
end
