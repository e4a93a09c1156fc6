
-- release.lua, put behind its first half: the ordinary hand-off, to a first waiter with enough of its place left. Everybody waits
-- for it, so it comes before the functions of the other cases are even made. They go on with the entry that was popped here.
if entry then
  local claim = string.sub(entry, 18, 49)
  -- Nobody has asked twice: then there is no such key.
  local later = call('HGET', PLACES, claim)
  if later and string.sub(later, 1, 16) ~= string.sub(entry, 1, 16) then later = nil end
  local ask, life, margin, spare = string.match(later or entry, '^(%d+) (%d+) (%d+) 0 ?(%d*)$', later and 18 or 51)
  local record = claim .. '+0'
  if ask and record ~= value then
    local time = call('TIME')
    local now = time[1] * 1000000 + time[2]
    local left = string.sub(entry, 1, 16) + life - now
    if left >= margin + 0 then
      -- The counter first: if it fails, nothing is granted.
      local token = call('INCRBY', COUNTER, '1')
      if spare == '' or token + spare > now then
        spare = '0'
      else
        call('INCRBY', COUNTER, spare)
      end
      if later then call('HDEL', PLACES, claim) end
      -- Not before the place's end, although the parts of a millisecond are left out here and in the server's clock.
      call('SET', LOCK, record, 'PX', string.format('%d', left / 1000 + 2))
      -- A server writes last to whom it had something to tell first. Without a word ahead that is the next holder, and it is
      -- written to only after the releaser, which has its answer last.
      local own, next = string.sub(ARGV[1], 1, 16), string.sub(claim, 1, 16)
      if own ~= next then redis.pcall('PUBLISH', CHANNELS .. own, '') end
      redis.pcall('PUBLISH', CHANNELS .. next, 'granted ' .. claim .. ' ' .. ask .. ' ' .. string.format('%.0f', token) .. ' ' .. spare)
      return 1
    end
  end
end
