
-- release.lua, its second half: everything but the plain release without a queue.
local id, manner, keep_ms = sub(ARGV[1], 1, 32), ARGV[2] or 'own', ARGV[3]
local taken_away = manner == 'revoke' or manner == 'now'

-- Passes the lock on; 5 if the work was cut short, else 1.
local function pass_on()
  local place, cut_short = take_first(nil, entry, id)
  if cut_short then return 5 end
  if place then
    promote(place)
  else
    call('DEL', LOCK)
  end
  return 1
end

local mark, holder, kept = read(value or '')

local function end_hold()
  if mark == '~' and manner ~= 'now' then return 1 end
  -- A lease that is over, with only the delay left, keeps nobody out for longer.
  if mark == '' and manner == 'keep' and call('PTTL', LOCK) > kept then
    call('SET', LOCK, '~' .. id, 'PX', keep_ms)
    return 1
  end
  if manner == 'revoke' then
    call('SET', LOCK, '!' .. marked(id, kept), 'KEEPTTL')
    return 1
  end
  return pass_on()
end

-- Whoever takes a hold away at once must be able to say so, and says it first: a client that reads this before the answer to
-- the ask that made the hold takes that for no grant. So this is refused without the right to publish.
local held = holder == id
local told = held and manner == 'now'
if told then call('PUBLISH', CHANNELS .. sub(id, 1, 16), 'revoked ' .. id) end
-- A holder has a place too if it asked again while only its delay was left.
local waited = withdraw(id, ARGV[4])
if held then
  if end_hold() == 5 then return 5 end
elseif not value and call('EXISTS', QUEUE) == 1 then
  if pass_on() == 5 and not waited then return 5 end
end
if held or waited then
  if taken_away and not told then tell(id, 'revoked ' .. id) end
  return 1
end
if call('EXISTS', LOCK) == 0 then return 2 end
return obstacle()
