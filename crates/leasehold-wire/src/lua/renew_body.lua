
-- renew.lua, its second half: the hold ran out while others wait, so the first of them is next.
local claim, place = take_first(nil)
if claim then promote(claim, place) end
return 0
