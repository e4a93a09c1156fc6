-- Purpose: the place of a claim.
-- Arguments: ?1 resource, ?2 claim. Returns: at most one row. Complexity: O(log rows).
SELECT resource, arrival, claim, permits, capacity, ask, since_ns, ends_ns, span_ns, margin_ns, delay_ns,
       boot, version, watch_boot, watch_ns, watch_version, about
FROM waiter WHERE resource = ?1 AND claim = ?2
