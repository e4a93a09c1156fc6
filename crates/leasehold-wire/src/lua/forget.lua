-- forget.lua: removes a client's list, but for the holds that outlive it, or one claim of it.
-- KEYS    1 clients, 2 that client's hash
-- ARGV    1 client, 2 claim (its own 16 digits; optional: only this one)
-- returns the number of entries that are left
-- O(entries). A client that is gone is marked so, and its list goes with the last hold that outlived it.
local left = 0
if ARGV[2] then redis.call('HDEL', KEYS[2], ARGV[2]) end
local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  if string.len(fields[i]) == 16 then
    if ARGV[2] or string.match(fields[i + 1], '^%d+ d ') then
      left = left + 1
    else
      redis.call('HDEL', KEYS[2], fields[i])
    end
  end
end
if not ARGV[2] and left > 0 then redis.call('HSET', KEYS[2], 'gone', '1') end
local lives = ARGV[2] and redis.call('HEXISTS', KEYS[2], 'about') == 1 and redis.call('HEXISTS', KEYS[2], 'gone') == 0
if left == 0 and not lives then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return left
