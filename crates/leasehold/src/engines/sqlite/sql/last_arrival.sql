-- Purpose: the end of a resource's queue.
-- Arguments: ?1 resource. Returns: the largest arrival, or no row. Complexity: O(log rows).
SELECT arrival FROM waiter WHERE resource = ?1 ORDER BY arrival DESC LIMIT 1
