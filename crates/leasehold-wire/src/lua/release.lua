-- release.lua: gives a hold or a place back, or takes it away, and passes the resource on to the first waiter.
-- KEYS    1 lock, 2 queue, 3 places, 4 counter
-- ARGV    1 claim, 2 channels: what a client's channel begins with, and only if it is not a plain release
--         3 manner: keep, revoke or now, 4 keep_ms
-- returns 1 released; 2 absent; {3, left_ms, value} taken by another; 5 again: what was held is still held
-- O(1) amortised: at most 100 dead entries of the queue are passed per call.
-- The uncontended path comes first and uses nothing else. With a queue the first write is a pop, so that the rest is
-- allowed when memory is short (a script is refused only before its first write).
local value = redis.call('GET', KEYS[1])
if value == ARGV[1] and not ARGV[3] and redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[1])
  return 1
end
local channels = ARGV[2]
