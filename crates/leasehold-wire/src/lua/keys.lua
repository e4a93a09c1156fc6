-- keys.lua: the other keys of the slot, and what a client's channel begins with. Where the queue's key was given, all are read
-- from it; else they are those of the default prefix.
-- Put behind the part of a script that is spared them where nobody waits, if it has one.
local PLACES, COUNTER, CHANNELS = 'leasehold:\1p{' .. LOCK .. '}', 'leasehold:\1token', 'leasehold:\1to:'
if KEYS[2] then
  local at = string.find(QUEUE, '\1q', 1, true)
  local prefix, tail = string.sub(QUEUE, 1, at - 1), string.sub(QUEUE, at + 2)
  PLACES, COUNTER, CHANNELS = prefix .. '\1p' .. tail, prefix .. '\1token', prefix .. '\1to:'
end
