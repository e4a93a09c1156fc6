-- Gives a lock back and passes it to whoever queued first, told on the channel that the first 16 characters of its id name.
-- KEYS: 1 the lock, 2 its queue
-- ARGV: 1 the claim's id, 2 ttl_ms
-- Returns: 1 given back, 0 not ours
-- Complexity: O(1)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local following = redis.call('LPOP', KEYS[2])
if not following then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], following, 'PX', ARGV[2])
redis.call('PUBLISH', string.sub(following, 1, 16), following)
return 1
