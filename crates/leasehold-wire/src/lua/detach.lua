-- detach.lua: writes that a hold outlives its client into the list of the client that took it.
-- KEYS    1 clients, 2 that client's hash
-- ARGV    1 client, 2 life_ms, 3 claim (its own 16 digits), 4 token in base 36 (0 if not known), 5 resource
-- returns 1
-- O(log clients).
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local since, token = string.format('%.0f', math.floor(now / 1000)), ARGV[4]
local old = redis.call('HGET', KEYS[2], ARGV[3])
if old then
  local old_since, old_token = string.match(old, '^(%d+) %l (%w+) ')
  since = old_since or since
  if token == '0' then token = old_token or token end
end
redis.call('HSET', KEYS[2], ARGV[3], since .. ' d ' .. token .. ' ' .. ARGV[5])
local life = tonumber(ARGV[2])
if redis.call('PTTL', KEYS[2]) < life then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', math.floor(now / 1000) + life), ARGV[1])
-- The last client may be killed, and nobody removes it then.
if redis.call('PTTL', KEYS[1]) < life then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
