-- renew.lua: lengthens a hold to the full ttl from now; never acquires, never revives, never shortens.
-- KEYS    1 lock, 2 queue, 3 places, 4 counter
-- ARGV    1 claim, 2 ttl_ms, 3 delay_ms, 4 channels: what a client's channel begins with
-- returns 1 renewed; 0 lost
-- O(1). A renewal writes nothing but an expiry, so it works when memory is short.
local value = redis.call('GET', KEYS[1])
if value == ARGV[1] then
  local left, delay = redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])
  -- With only the delay left, the lease is over.
  if left >= 0 and left <= delay then return 0 end
  local whole = tonumber(ARGV[2]) + delay
  if left < whole then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', whole)) end
  return 1
end
if value or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local channels = ARGV[4]
