-- Purpose: some waiters of any resource, behind a row; for `inspect`, `list` and the sweep.
-- Arguments: ?1 resource and ?2 arrival of the row, ?3 how many. Returns: one row per waiter. Complexity: O(log rows + ?3).
SELECT resource, arrival, claim, permits, capacity, ask, since_ns, ends_ns, span_ns, margin_ns, delay_ns,
       boot, version, watch_boot, watch_ns, watch_version, about
FROM waiter WHERE (resource, arrival) > (?1, ?2) ORDER BY resource, arrival LIMIT ?3
