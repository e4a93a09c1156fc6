
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
    -- The counter first: if it fails, nothing is granted.
    local token = call('INCRBY', COUNTER, '1')
    -- Until the first millisecond behind the place. Numbers are written in halves: some servers' '%d' holds 32 bits, and what writes
    -- fractions takes long to fetch.
    local till = (string.sub(entry, 1, 16) + life) / 1000 + 1
    call('SET', LOCK, record, 'PXAT', string.format('%d%07d', till / 10000000, till % 10000000))
    -- What is left of the place, two milliseconds more at most; to ask for the time takes longer.
    if (call('PTTL', LOCK) - 2) * 1000 >= margin + 0 then
      if spare == '' then
        spare = '0'
      else
        local time = call('TIME')
        if token + spare > time[1] * 1000000 + time[2] then
          spare = '0'
        else
          call('INCRBY', COUNTER, spare)
        end
      end
      if later then call('HDEL', PLACES, claim) end
      -- A server writes last to whom it had something to tell first. Without a word ahead that is the next holder, and it is
      -- written to only after the releaser, which has its answer last.
      local own, next = string.sub(ARGV[1], 1, 16), string.sub(claim, 1, 16)
      if own ~= next then redis.pcall('PUBLISH', CHANNELS .. own, '') end
      token = string.format('%d%07d', token / 10000000, token % 10000000)
      redis.pcall('PUBLISH', CHANNELS .. next, 'granted ' .. claim .. ' ' .. ask .. ' ' .. token .. ' ' .. spare)
      return 1
    end
    -- Not enough: the other cases find the record as it was, for so long as the rest of a release can take.
    call('SET', LOCK, value, 'PX', '5000')
  end
end
