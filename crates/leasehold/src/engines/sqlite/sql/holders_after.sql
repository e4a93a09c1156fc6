-- Purpose: some holders of any resource, behind a row; for `list` and the sweep.
-- Arguments: ?1 resource and ?2 rank of the row, ?3 how many. Returns: one row per holder. Complexity: O(log rows + ?3).
SELECT resource, rank, token, claim, permits, capacity, state, since_ns, ends_ns, span_ns, delay_ns,
       boot, version, watch_boot, watch_ns, watch_version, about
FROM holder WHERE (resource, rank) > (?1, ?2) ORDER BY resource, rank LIMIT ?3
