-- release.lua: gives a hold or a place back, or takes it away, and passes the resource on to the first waiter.
-- KEYS    1 lock, 2 queue
-- ARGV    1 claim, and only if it is not a plain release 2 manner: keep, revoke or now, 3 keep_ms
-- returns 1 released; 2 absent; {3, left_ms, value} taken by another; 5 again: what was held is still held
-- O(1) amortised: at most 100 dead entries of the queue are passed per call.
-- The uncontended path comes first and pays for nothing else, not even for arguments: each would cost it 3 %. So the other
-- keys, of the same slot, are derived from the queue's where there is one. With a queue the first write is a pop, so that
-- the rest is allowed when memory is short (a script is refused only before its first write).
local call, LOCK, QUEUE = redis.call, KEYS[1], KEYS[2]
local value = call('GET', LOCK)
if value == ARGV[1] and not ARGV[2] and call('EXISTS', QUEUE) == 0 then
  call('DEL', LOCK)
  return 1
end
local prefix, tail = string.match(QUEUE, '^(%C*)\1q(.*)$')
local PLACES, COUNTER, CHANNELS = prefix .. '\1p' .. tail, prefix .. '\1token', prefix .. '\1to:'
