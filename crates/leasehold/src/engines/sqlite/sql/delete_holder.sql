-- Purpose: removes a holder.
-- Arguments: ?1 resource, ?2 rank. Returns: nothing. Complexity: O(log rows).
DELETE FROM holder WHERE resource = ?1 AND rank = ?2
