-- release.lua: gives a hold or a place back, or takes it away, and passes the resource on to the first waiter.
-- KEYS    1 lock, 2 queue, unless the prefix is the default one and the lock's key has no brace
-- ARGV    1 claim and a "+" (the value of a lock that nobody waits for), and only if it is not a plain release 2 manner: own, keep,
--         revoke or now, 3 keep_ms, 4 if the claim may have an entry in the queue: what is known of it, as in claim.lua
-- returns 1 released; 2 absent; {3, left_ms, value} taken by another; 5 again: what was held is still held
-- O(1) amortised: at most 100 dead entries of the queue are passed per call. To find an entry O(log entries), to find one that may
-- be another O(entries since then), to take one out of the middle O(entries).
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
