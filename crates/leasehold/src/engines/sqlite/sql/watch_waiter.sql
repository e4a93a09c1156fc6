-- Purpose: notes when this boot first saw a foreign waiter as it is.
-- Arguments: ?1 resource, ?2 arrival, ?3 boot, ?4 now (ns), ?5 version seen. Returns: nothing. Complexity: O(log rows).
UPDATE waiter SET watch_boot = ?3, watch_ns = ?4, watch_version = ?5 WHERE resource = ?1 AND arrival = ?2
