-- Takes a lock or queues for it: the least that a queue on the server costs, without tokens, places or care for the dead.
-- KEYS: 1 the lock, 2 its queue
-- ARGV: 1 the claim's id and its channel, 2 ttl_ms
-- Returns: 1 held, 0 queued
-- Complexity: O(1)
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
redis.call('RPUSH', KEYS[2], ARGV[1])
return 0
