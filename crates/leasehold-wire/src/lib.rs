//! What Leasehold says to Redis.
