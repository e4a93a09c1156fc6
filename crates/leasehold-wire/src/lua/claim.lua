-- claim.lua: asks for a mutex; the repeat of a holder refreshes its lease, the repeat of a waiter its place.
-- KEYS    1 lock, 2 queue, unless the prefix is the default one and the lock's key has no brace
-- ARGV    1 "<claim> <number of the ask> <life_us of a place, never shorter than before> <margin_us> <delay_ms>", and " <spare>" if
--         the grant is to bring so many spare tokens, 2 wait (1 or 0), and if the claim may have an entry in the queue " " and what
--         is known of it: <made_us>, <made_us>?<since_us> if it may be another that was made since then, or ?<since_us>, 3 ttl_ms
-- returns {1, token, spare} granted; "<left_ms> <made_us> <value>" queued; {3, left_ms, value} busy; 4 stale; 5 again: nothing
--         decided yet. What most get is a text: a list is built apart, and costs its ask and the hand-off before it 3 %
-- O(1) amortised: at most 100 dead entries of the queue are passed per call. To find an entry O(log entries), to find one that may
-- be another O(entries since then), to take one out of the middle O(entries).
local call, LOCK = redis.call, KEYS[1]
local QUEUE = KEYS[2] or 'leasehold:\1q{' .. LOCK .. '}'
