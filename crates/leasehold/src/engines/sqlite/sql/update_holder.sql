-- Purpose: writes what may change of a hold: its lease, its permits, its state.
-- Arguments: ?1 resource, ?2 token, ?3 permits, ?4 state, ?5 end and ?6 span of the lease, ?7 lock delay (ns).
-- Returns: nothing. Complexity: O(log rows).
UPDATE holder SET permits = ?3, state = ?4, ends_ns = ?5, span_ns = ?6, delay_ns = ?7, version = version + 1
WHERE resource = ?1 AND token = ?2
