-- registry.lua: writes what has changed of a client's own list of what it holds and waits for.
-- KEYS    1 clients (sorted set: client by expiry in ms), 2 the client's hash
-- ARGV    1 client, 2 life_ms, 3 about (JSON), 4 number of claims that are gone, then these claims, then for each claim that
--         is new or changed: claim, age_us, state (h held, w waiting, d detached), token in base 36, resource; of
--         a claim only its own 16 digits, without the client's
-- returns how many fields there are now: one for each claim, and what the client says of itself
-- O(changes + log clients). A field is "<since_ms> <state> <token in base 36> <resource>", as short as can be:
-- there is one for each lock. Detached entries are left as they are.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local gone = tonumber(ARGV[4])
for i = 5, 4 + gone do redis.call('HDEL', KEYS[2], ARGV[i]) end
redis.call('HSET', KEYS[2], 'about', ARGV[3])
for i = 5 + gone, #ARGV, 5 do
  local since = string.format('%.0f', math.floor((now - tonumber(ARGV[i + 1])) / 1000))
  redis.call('HSET', KEYS[2], ARGV[i], since .. ' ' .. ARGV[i + 2] .. ' ' .. ARGV[i + 3] .. ' ' .. ARGV[i + 4])
end
local life = tonumber(ARGV[2])
if redis.call('PTTL', KEYS[2]) < life then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', math.floor(now / 1000) + life), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', math.floor(now / 1000)))
-- The last client may be killed, and nobody removes it then.
if redis.call('PTTL', KEYS[1]) < life then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('HLEN', KEYS[2])
