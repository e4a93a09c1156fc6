-- Purpose: refreshes a place.
-- Arguments: ?1 resource, ?2 arrival, ?3 number of the ask, ?4 end and ?5 span of the place, ?6 margin, ?7 lock delay (all ns). Returns: nothing.
-- Complexity: O(log rows).
UPDATE waiter SET ask = ?3, ends_ns = ?4, span_ns = ?5, margin_ns = ?6, delay_ns = ?7, version = version + 1
WHERE resource = ?1 AND arrival = ?2
