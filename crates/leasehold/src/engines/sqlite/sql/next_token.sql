-- Purpose: takes the next tokens of the store.
-- Arguments: ?1 the wall clock in microseconds, the floor; ?2 how many. Returns: the first of them. Complexity: O(1).
UPDATE counter SET token = max(token + 1, ?1) + ?2 - 1 WHERE id = 1 RETURNING token - ?2 + 1
