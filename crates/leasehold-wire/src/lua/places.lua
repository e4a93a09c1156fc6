-- places.lua: the key of what later asks have made of places.
-- Put behind the parts of a script that are spared it where nobody waits.
local PLACES = 'leasehold:\1p{' .. LOCK .. '}'
if KEYS[2] then PLACES = string.gsub(KEYS[2], '\1q', '\1p', 1) end
