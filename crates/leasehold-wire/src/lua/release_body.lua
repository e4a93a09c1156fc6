
-- release.lua, its second half: everything but the plain release without a queue.
local id, manner, keep_ms = ARGV[1], ARGV[3] or 'own', ARGV[4]
local taken_away = manner == 'revoke' or manner == 'now'

-- Passes the lock on; 5 if the work was cut short, else 1.
local function pass_on()
  local claim, place, cut_short = take_first(nil)
  if cut_short then return 5 end
  if claim then
    promote(claim, place)
  else
    call('DEL', LOCK)
  end
  return 1
end

if value == id then
  if manner == 'keep' then
    call('SET', LOCK, '~' .. id, 'PX', keep_ms)
    return 1
  end
  if manner == 'revoke' then
    call('SET', LOCK, '!' .. id, 'KEEPTTL')
    tell(id, 'revoked ' .. id)
    return 1
  end
  local status = pass_on()
  if manner == 'now' and status == 1 then tell(id, 'revoked ' .. id) end
  return status
end
if value == '!' .. id then
  if manner == 'revoke' then return 1 end
  return pass_on()
end
if value == '~' .. id then
  if manner == 'now' then return pass_on() end
  return 1
end

local waited = withdraw(id)
if waited and taken_away then tell(id, 'revoked ' .. id) end
if not value and call('EXISTS', QUEUE) == 1 then
  local status = pass_on()
  if status == 5 and not waited then return 5 end
end
if waited then return 1 end
if call('EXISTS', LOCK) == 0 then return 2 end
return obstacle(3)
