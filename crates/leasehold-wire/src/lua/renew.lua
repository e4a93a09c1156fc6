-- renew.lua: lengthens a hold to the full ttl from now; never acquires, never revives, never shortens.
-- KEYS    1 lock, 2 queue, 3 places, 4 counter
-- ARGV    1 claim, 2 ttl_ms, 3 delay_ms, 4 channels: what a client's channel begins with, 5 how many tokens to set aside
--         (optional)
-- returns 0 lost; else renewed: 1 if nobody waits, 2 if somebody may; with {1 or 2, last token, how many} if tokens were set
--         aside: so many as leave the counter behind the server's clock, one at least
-- O(1). A renewal writes nothing but an expiry, so it works when memory is short.
local value, id, delay, kept = redis.call('GET', KEYS[1]), ARGV[1], tonumber(ARGV[3]), nil
if value == id then
  kept = 0
elseif value and string.sub(value, 1, 33) == id .. '+' then
  kept = tonumber(string.sub(value, 34)) or 0
end
if kept then
  local left = redis.call('PTTL', KEYS[1])
  -- With only the delay left, the lease is over.
  if kept > 0 and left >= 0 and left <= kept then return 0 end
  if delay > kept then redis.call('SET', KEYS[1], id .. '+' .. ARGV[3], 'KEEPTTL') end
  local whole = math.max(left - kept, tonumber(ARGV[2])) + math.max(delay, kept)
  -- Also where it changes nothing: a replica must refuse it, not answer for its primary.
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', whole))
  local renewed = 1 + redis.call('EXISTS', KEYS[2])
  -- Behind the expiry, which is never refused: with memory short, a holder that needs no tokens holds on.
  if not ARGV[5] then return renewed end
  local time = redis.call('TIME')
  local room = time[1] * 1000000 + time[2] - (tonumber(redis.call('GET', KEYS[4])) or 0)
  local count = string.format('%.0f', math.max(1, math.min(ARGV[5], room)))
  return { renewed, redis.call('INCRBY', KEYS[4], count), tonumber(count) }
end
if value or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local call, CHANNELS = redis.call, ARGV[4]
local LOCK, QUEUE, PLACES, COUNTER = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
