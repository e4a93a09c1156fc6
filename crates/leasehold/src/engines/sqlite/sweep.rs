//! Removes, now and then, rows that time has ended on resources that nobody asks for any more.

use super::rows::{Here, Left, Nanos, Rows};
use rusqlite::Result;

/// Rows of each table looked at in one sweep.
const ROWS: u32 = 256;

/// Nanoseconds between two sweeps of one process.
const EVERY: Nanos = 1_000_000_000;

/// Where the next sweep goes on, and when.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    due: Nanos,
    holder: (String, i64),
    waiter: (String, i64),
}

impl Sweep {
    /// Sweeps if it is due; the first time at once, so that processes that live for one verb do their share.
    // Nobody can tell a removed row from one that has ended: each verb that writes settles first, each that reads skips such rows.
    // Promoting is left to the verbs on that resource.
    pub(super) fn run(&mut self, rows: Rows<'_>, here: Here<'_>) -> Result<()> {
        if here.now < self.due {
            return Ok(());
        }
        self.due = here.now + EVERY;
        let swept = self.holders(rows, here).and_then(|()| self.waiters(rows, here));
        match swept {
            // A row that cannot be read is the trouble of those who ask for its resource.
            Err(rusqlite::Error::FromSqlConversionFailure(..)) => Ok(()),
            swept => swept,
        }
    }

    fn holders(&mut self, rows: Rows<'_>, here: Here<'_>) -> Result<()> {
        let found = rows.holders_after((&self.holder.0, self.holder.1), ROWS)?;
        self.holder = found.last().map(|row| (row.resource.clone(), row.rank.as_i64())).unwrap_or_default();
        for row in &found {
            match row.record_left(here) {
                left if left.has_ended() => rows.delete_holder(row)?,
                Left::Unseen(_) => rows.watch_holder(row, here)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn waiters(&mut self, rows: Rows<'_>, here: Here<'_>) -> Result<()> {
        let found = rows.waiters_after((&self.waiter.0, self.waiter.1), ROWS)?;
        self.waiter = found.last().map(|row| (row.resource.clone(), row.arrival)).unwrap_or_default();
        for row in &found {
            match row.left(here) {
                left if left.has_ended() => rows.delete_waiter(row)?,
                Left::Unseen(_) => rows.watch_waiter(row, here)?,
                _ => {}
            }
        }
        Ok(())
    }
}
