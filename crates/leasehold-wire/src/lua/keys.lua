-- keys.lua: the counter's key, and what a client's channel begins with. Where the queue's key was given, they are read from it;
-- else they are those of the default prefix.
-- Put behind the part of a script that is spared them where nobody waits, if it has one.
local COUNTER, CHANNELS = 'leasehold:\1token', 'leasehold:\1to:'
if KEYS[2] then
  local prefix = string.match(KEYS[2], '^(.-)\1q')
  COUNTER, CHANNELS = prefix .. '\1token', prefix .. '\1to:'
end
