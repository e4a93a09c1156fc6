-- Purpose: removes a waiter.
-- Arguments: ?1 resource, ?2 arrival. Returns: nothing. Complexity: O(log rows).
DELETE FROM waiter WHERE resource = ?1 AND arrival = ?2
