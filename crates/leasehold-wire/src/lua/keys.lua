
-- keys.lua: the other keys of the slot, and what a client's channel begins with, from the queue's key, QUEUE.
-- Put behind the first half of a script that is spared them where nobody waits.
local at = string.find(QUEUE, '\1q', 1, true)
local prefix, tail = string.sub(QUEUE, 1, at - 1), string.sub(QUEUE, at + 2)
local PLACES, COUNTER, CHANNELS = prefix .. '\1p' .. tail, prefix .. '\1token', prefix .. '\1to:'
