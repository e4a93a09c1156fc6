-- Purpose: the holders of a resource, oldest grant first.
-- Arguments: ?1 resource. Returns: one row per holder. Complexity: O(log rows + holders).
SELECT resource, rank, token, claim, permits, capacity, state, since_ns, ends_ns, span_ns, delay_ns,
       boot, version, watch_boot, watch_ns, watch_version, about
FROM holder WHERE resource = ?1 ORDER BY rank
