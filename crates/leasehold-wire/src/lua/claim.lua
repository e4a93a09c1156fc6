-- claim.lua: asks for a mutex; the repeat of a holder refreshes its lease, the repeat of a waiter its place.
-- KEYS    1 lock, 2 queue, unless the prefix is the default one and the lock's key has no brace
-- ARGV    1 claim, 2 ttl_ms, 3 delay_ms, 4 number of the ask, 5 wait (1 or 0), 6 life_us of a place, 7 margin_us,
--         8 how many spare tokens the grant is to bring (optional)
-- returns {1, token, spare} granted; "<left_ms> <value>" queued; {3, left_ms, value} busy; 4 stale; 5 again: nothing decided yet.
--         What most get is a text: a list is built apart, and costs its ask and the hand-off before it 3 %
-- O(1) amortised: at most 100 dead entries of the queue are passed per call.
local call, LOCK = redis.call, KEYS[1]
local QUEUE = KEYS[2] or 'leasehold:\1q{' .. LOCK .. '}'
