-- release.lua: gives a hold or a place back, or takes it away, and passes the resource on to the first waiter.
-- KEYS    1 lock, 2 queue, unless the prefix is the default one and the lock's key has no brace
-- ARGV    1 claim and a "+" (the value of a lock that nobody waits for), and only if it is not a plain release 2 manner: keep,
--         revoke or now, 3 keep_ms
-- returns 1 released; 2 absent; {3, left_ms, value} taken by another; 5 again: what was held is still held
-- O(1) amortised: at most 100 dead entries of the queue are passed per call.
-- The uncontended path comes first and pays for nothing else, not even for keys (each would cost it 7 %) or arguments (3 %).
-- So the other keys, of the same slot, are derived where somebody may wait. With a queue the first write is a pop, so
-- that the rest is allowed when memory is short (a script is refused only before its first write).
local value = redis.call('GET', KEYS[1])
if value == ARGV[1] and not ARGV[2] then return redis.call('DEL', KEYS[1]) end
local call, LOCK = redis.call, KEYS[1]
local QUEUE = KEYS[2] or 'leasehold:\1q{' .. LOCK .. '}'
local entry
if value == ARGV[1] .. '0' and not ARGV[2] then
  entry = call('LPOP', QUEUE)
  if not entry then return call('DEL', LOCK) end
end
local at = string.find(QUEUE, '\1q', 1, true)
local prefix, tail = string.sub(QUEUE, 1, at - 1), string.sub(QUEUE, at + 2)
local PLACES, COUNTER, CHANNELS = prefix .. '\1p' .. tail, prefix .. '\1token', prefix .. '\1to:'

-- The ordinary hand-off, to a first waiter with enough of its place left: what everybody waits for, so it comes before the
-- functions of the other cases are even made. They go on with the entry that was popped here. A holder without a delay has
-- no place of its own to give up.
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
