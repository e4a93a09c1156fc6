-- Purpose: the tables of a lock database, schema 1. Run once, in the transaction that also sets application_id and user_version.
-- Times are nanoseconds of CLOCK_BOOTTIME; `boot` names the boot and the time namespace whose clock that was.
-- `span_ns` is the time from the last write of a row to `ends_ns`; `version` rises with each write by the row's owner.
-- `watch_*`: when a process of another boot first saw this version of the row, by that process's clock.

-- The last token of all resources; one row.
CREATE TABLE counter (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    token INTEGER NOT NULL
);
INSERT INTO counter (id, token) VALUES (1, 0);

-- Who holds, in the order of `rank`, the token of the first grant; `token` is that of the last. `state`: 0 live, 1 detached,
-- 2 ghost, 3 revoked. The record ends `delay_ns` after the lease.
CREATE TABLE holder (
    resource TEXT NOT NULL,
    rank INTEGER NOT NULL,
    token INTEGER NOT NULL,
    claim TEXT NOT NULL,
    permits INTEGER NOT NULL,
    capacity INTEGER NOT NULL,
    state INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    ends_ns INTEGER NOT NULL,
    span_ns INTEGER NOT NULL,
    delay_ns INTEGER NOT NULL,
    boot TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    watch_boot TEXT,
    watch_ns INTEGER,
    watch_version INTEGER,
    about TEXT NOT NULL,
    PRIMARY KEY (resource, rank)
) WITHOUT ROWID;

-- Who waits, in the order of `arrival`. `ask` is the number of the last ask that reached the place.
CREATE TABLE waiter (
    resource TEXT NOT NULL,
    arrival INTEGER NOT NULL,
    claim TEXT NOT NULL,
    permits INTEGER NOT NULL,
    capacity INTEGER NOT NULL,
    ask INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    ends_ns INTEGER NOT NULL,
    span_ns INTEGER NOT NULL,
    margin_ns INTEGER NOT NULL,
    delay_ns INTEGER NOT NULL,
    boot TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    watch_boot TEXT,
    watch_ns INTEGER,
    watch_version INTEGER,
    about TEXT NOT NULL,
    PRIMARY KEY (resource, arrival)
) WITHOUT ROWID;

CREATE UNIQUE INDEX waiter_claim ON waiter (resource, claim);
