-- renew.lua: lengthens a hold to the full ttl from now; never acquires, never revives, never shortens.
-- KEYS    1 lock, 2 queue, unless the prefix is the default one and the lock's key has no brace
-- ARGV    1 claim, 2 ttl_ms, 3 delay_ms (none is 0), 4 how many tokens to set aside (optional)
-- returns 0 lost; else renewed: 1 if nobody waits, 2 if somebody may; with {1 or 2, last token, how many} if tokens were set
--         aside: so many as leave the counter behind the server's clock, one at least
-- O(1). A renewal writes nothing but an expiry, so it works when memory is short.
-- The ordinary renewal comes first and pays for nothing else, not even for keys or arguments.
local call, LOCK, id, delay = redis.call, KEYS[1], ARGV[1], tonumber(ARGV[3] or 0)
local QUEUE = KEYS[2] or 'leasehold:\1q{' .. LOCK .. '}'
local value, kept, renewed = call('GET', LOCK), nil, nil
if value == id then
  kept = 0
elseif value and string.sub(value, 1, 33) == id .. '+' then
  kept = tonumber(string.sub(value, 34)) or 0
end
if kept then
  local left = call('PTTL', LOCK)
  -- With only the delay left, the lease is over.
  if kept > 0 and left >= 0 and left <= kept then return 0 end
  if delay > kept then call('SET', LOCK, id .. '+' .. ARGV[3], 'KEEPTTL') end
  local whole = math.max(left - kept, tonumber(ARGV[2])) + math.max(delay, kept)
  -- Also where it changes nothing: a replica must refuse it, not answer for its primary.
  call('PEXPIRE', LOCK, string.format('%.0f', whole))
  renewed = 1 + call('EXISTS', QUEUE)
  -- Behind the expiry, which is never refused: with memory short, a holder that needs no tokens holds on.
  if not ARGV[4] then return renewed end
elseif value or call('EXISTS', QUEUE) == 0 then
  return 0
end
