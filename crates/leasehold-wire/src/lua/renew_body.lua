
-- renew.lua, its second half: the hold ran out while others wait, so the first of them is next.
local place = take_first(nil)
if place then promote(place) end
return 0
