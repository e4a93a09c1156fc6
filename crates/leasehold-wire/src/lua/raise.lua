-- raise.lua: lifts the token counter to the server's clock, so that tokens rise over restarts and flushes.
-- KEYS    1 counter
-- ARGV    none
-- returns the counter, in µs since 1970 or above
-- O(1).
-- The counter never expires; and a script is refused for want of memory only before its first write, which this is.
redis.call('PERSIST', KEYS[1])
local time = redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
local counter = tonumber(redis.call('GET', KEYS[1]) or '0')
if counter == nil then return redis.error_reply('WRONGTYPE the token counter is not a number') end
if counter >= clock then return counter end
redis.call('SET', KEYS[1], string.format('%.0f', clock))
return clock
