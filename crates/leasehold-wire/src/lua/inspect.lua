-- inspect.lua: reads who holds and who waits.
-- KEYS    1 lock, 2 queue, 3 what later asks have made of places
-- ARGV    1 most waiters to read
-- returns {value or '', left_ms (-1: no end, -2: nobody), now_us, {claim, left_us, …}}
-- O(waiters read). Writes nothing.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local waiters = {}
for _, entry in ipairs(redis.call('LRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1)) do
  local made, claim, life = string.match(entry, '^(%d+) (%x+) %d+ (%d+) ')
  local later = made and redis.call('HGET', KEYS[3], claim)
  if later then life = string.match(later, '^' .. made .. ' %d+ (%d+) ') or life end
  if made and made + life > now then
    waiters[#waiters + 1] = claim
    waiters[#waiters + 1] = made + life - now
  end
end
return { redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1]), now, waiters }
