-- Purpose: writes what may change of a hold: its token, its permits, its state, its lease.
-- Arguments: ?1 resource, ?2 rank, ?3 token, ?4 permits, ?5 state, ?6 end and ?7 span of the lease, ?8 lock delay (ns).
-- Returns: nothing. Complexity: O(log rows).
UPDATE holder SET token = ?3, permits = ?4, state = ?5, ends_ns = ?6, span_ns = ?7, delay_ns = ?8, version = version + 1
WHERE resource = ?1 AND rank = ?2
