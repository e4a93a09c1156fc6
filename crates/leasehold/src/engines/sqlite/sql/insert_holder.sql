-- Purpose: enters a holder.
-- Arguments: ?1 resource, ?2 token, ?3 claim, ?4 permits, ?5 capacity, ?6 now, ?7 end and ?8 span of the lease, ?9 lock delay
-- (all ns), ?10 boot, ?11 about as JSON. Returns: nothing. Complexity: O(log rows).
INSERT INTO holder (resource, rank, token, claim, permits, capacity, state, since_ns, ends_ns, span_ns, delay_ns, boot, about)
VALUES (?1, ?2, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9, ?10, ?11)
