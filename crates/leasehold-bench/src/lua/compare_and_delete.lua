-- Gives a textbook lock back if it is still ours.
-- KEYS: 1 the lock
-- ARGV: 1 the holder's id
-- Returns: 1 deleted, 0 not ours
-- Complexity: O(1)
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end
