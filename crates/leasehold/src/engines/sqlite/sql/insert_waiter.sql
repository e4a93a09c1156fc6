-- Purpose: enters a waiter at an arrival.
-- Arguments: ?1 resource, ?2 arrival, ?3 claim, ?4 permits, ?5 capacity, ?6 number of the ask, ?7 now, ?8 end and ?9 span of the
-- place, ?10 margin, ?11 lock delay (all ns), ?12 boot, ?13 about as JSON. Returns: nothing. Complexity: O(log rows).
INSERT INTO waiter (resource, arrival, claim, permits, capacity, ask, since_ns, ends_ns, span_ns, margin_ns, delay_ns, boot, about)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
