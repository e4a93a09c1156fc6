-- Purpose: grants to a holder again, with a new token.
-- Arguments: ?1 resource, ?2 old token, ?3 new token, ?4 end and ?5 span of the lease, ?6 lock delay (ns).
-- Returns: nothing. Complexity: O(log rows).
UPDATE holder SET token = ?3, ends_ns = ?4, span_ns = ?5, delay_ns = ?6, version = version + 1
WHERE resource = ?1 AND token = ?2
