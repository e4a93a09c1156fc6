-- Purpose: takes the next token of the store.
-- Arguments: ?1 the wall clock in microseconds, the floor. Returns: the token. Complexity: O(1).
UPDATE counter SET token = max(token + 1, ?1) WHERE id = 1 RETURNING token
