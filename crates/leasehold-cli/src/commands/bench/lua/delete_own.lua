-- delete_own.lua: the textbook's release of SET NX PX: deletes the key if it is still the caller's.
-- KEYS    1 the lock
-- ARGV    1 the value that the caller set
-- returns 1 if it was deleted, else 0
-- O(1).
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
