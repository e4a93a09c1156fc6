//! The rows of a lock database: reading, writing, and whether time has ended them.

use leasehold_core::{ClaimId, ReqNo, Token};
use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Result, Row, params};
use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

/// Added to a full span before a row of another boot counts as ended: 1 % for drift, 2 ms for coarse clocks.
const WATCH_MARGIN_NS: i64 = 2_000_000;

/// Nanoseconds of a clock, or a span of it.
pub(super) type Nanos = i64;

/// Whose clock a row was written by, and how long a process of another boot has seen it unchanged.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    boot: String,
    version: i64,
    watch: Option<(String, Nanos, i64)>,
}

/// What is left of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// This long, by the clock that wrote it; at most zero if it has ended.
    Ours(Nanos),
    /// This long at most, by what this boot has seen of a foreign row; at most zero if it has ended.
    Foreign(Nanos),
    /// A foreign row that this boot has not seen in its present version: this long at most.
    Unseen(Nanos),
}

impl Left {
    pub(super) fn nanos(self) -> Nanos {
        match self {
            Left::Ours(left) | Left::Foreign(left) | Left::Unseen(left) => left,
        }
    }

    pub(super) fn has_ended(self) -> bool {
        self.nanos() <= 0
    }
}

impl Mark {
    /// What is left at `now` of a row that ends at `ends` and whose owner's last write gave it `span`.
    // A foreign clock says nothing about how much has passed, so only a full span without a sign of life ends such a row.
    fn left(&self, ends: Nanos, span: Nanos, here: Here<'_>) -> Left {
        if self.is_of(here) {
            return Left::Ours(ends - here.now);
        }
        let full = span.saturating_add(span / 100).saturating_add(WATCH_MARGIN_NS);
        match &self.watch {
            Some((boot, since, version)) if boot == here.boot && *version == self.version => {
                Left::Foreign(since.saturating_add(full) - here.now)
            }
            _ => Left::Unseen(full),
        }
    }
}

/// The reader's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here<'a> {
    /// Names the boot and the time namespace.
    pub(super) boot: &'a str,
    /// The instant of the transaction.
    pub(super) now: Nanos,
}

/// What a holder's row says besides that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Live,
    Detached,
    Ghost,
    Revoked,
}

impl State {
    fn from_sql(number: i64) -> Option<State> {
        [State::Live, State::Detached, State::Ghost, State::Revoked].into_iter().find(|state| *state as i64 == number)
    }
}

/// A row of the table `holder`.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) resource: String,
    /// The token of the first grant, in whose order holders stand.
    pub(super) rank: Token,
    pub(super) token: Token,
    pub(super) claim: ClaimId,
    pub(super) permits: u32,
    pub(super) capacity: u32,
    pub(super) state: State,
    pub(super) since: Nanos,
    /// The end of the lease; the record ends `delay` later.
    pub(super) ends: Nanos,
    pub(super) span: Nanos,
    pub(super) delay: Nanos,
    pub(super) mark: Mark,
    pub(super) about: String,
}

impl Holder {
    /// What is left of the record: the lease and the delay behind it.
    pub(super) fn record_left(&self, here: Here<'_>) -> Left {
        self.mark.left(self.ends.saturating_add(self.delay), self.span.saturating_add(self.delay), here)
    }

    /// What is left of the lease.
    pub(super) fn lease_left(&self, here: Here<'_>) -> Left {
        self.mark.left(self.ends, self.span, here)
    }

    /// True if its client may still believe in it, by our own clock.
    pub(super) fn is_live(&self, here: Here<'_>) -> bool {
        let state = matches!(self.state, State::Live | State::Detached);
        state && matches!(self.lease_left(here), Left::Ours(left) if left > 0)
    }

    fn read(row: &Row<'_>) -> Result<Holder> {
        let state = row.get(6)?;
        Ok(Holder {
            resource: row.get(0)?,
            rank: token(row, 1)?,
            token: token(row, 2)?,
            claim: parsed(row, 3)?,
            permits: row.get(4)?,
            capacity: row.get(5)?,
            state: State::from_sql(state).ok_or_else(|| damaged(6, Type::Integer))?,
            since: row.get(7)?,
            ends: row.get(8)?,
            span: row.get(9)?,
            delay: row.get(10)?,
            mark: mark(row, 11)?,
            about: row.get(16)?,
        })
    }
}

/// A row of the table `waiter`.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) resource: String,
    pub(super) arrival: i64,
    pub(super) claim: ClaimId,
    pub(super) permits: u32,
    pub(super) capacity: u32,
    pub(super) ask: ReqNo,
    pub(super) since: Nanos,
    /// The end of the place.
    pub(super) ends: Nanos,
    pub(super) span: Nanos,
    /// A place is not promoted with less than this left.
    pub(super) margin: Nanos,
    pub(super) delay: Nanos,
    pub(super) mark: Mark,
    pub(super) about: String,
}

impl Waiter {
    /// What is left of the place.
    pub(super) fn left(&self, here: Here<'_>) -> Left {
        self.mark.left(self.ends, self.span, here)
    }

    fn read(row: &Row<'_>) -> Result<Waiter> {
        Ok(Waiter {
            resource: row.get(0)?,
            arrival: row.get(1)?,
            claim: parsed(row, 2)?,
            permits: row.get(3)?,
            capacity: row.get(4)?,
            ask: ReqNo(row.get(5)?),
            since: row.get(6)?,
            ends: row.get(7)?,
            span: row.get(8)?,
            margin: row.get(9)?,
            delay: row.get(10)?,
            mark: mark(row, 11)?,
            about: row.get(16)?,
        })
    }
}

/// The statements on one connection, inside whatever transaction is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'c>(pub(super) &'c Connection);

impl Rows<'_> {
    pub(super) fn holders(self, resource: &str) -> Result<Vec<Holder>> {
        self.prepare(include_str!("sql/holders.sql"))?.query_map([resource], Holder::read)?.collect()
    }

    pub(super) fn holders_after(self, after: (&str, i64), limit: u32) -> Result<Vec<Holder>> {
        let mut statement = self.prepare(include_str!("sql/holders_after.sql"))?;
        statement.query_map(params![after.0, after.1, limit], Holder::read)?.collect()
    }

    pub(super) fn waiters_after(self, after: (&str, i64), limit: u32) -> Result<Vec<Waiter>> {
        let mut statement = self.prepare(include_str!("sql/waiters_after.sql"))?;
        statement.query_map(params![after.0, after.1, limit], Waiter::read)?.collect()
    }

    pub(super) fn next_waiter(self, resource: &str, after: i64) -> Result<Option<Waiter>> {
        self.prepare(include_str!("sql/next_waiter.sql"))?.query_row(params![resource, after], Waiter::read).optional()
    }

    pub(super) fn waiter_of(self, resource: &str, claim: ClaimId) -> Result<Option<Waiter>> {
        let mut statement = self.prepare(include_str!("sql/waiter_of.sql"))?;
        statement.query_row(params![resource, claim.to_string()], Waiter::read).optional()
    }

    pub(super) fn last_arrival(self, resource: &str) -> Result<Option<i64>> {
        self.prepare(include_str!("sql/last_arrival.sql"))?.query_row([resource], |row| row.get(0)).optional()
    }

    /// Takes the next token; the floor is in microseconds.
    pub(super) fn next_token(self, floor: i64) -> Result<Token> {
        self.next_tokens(floor, 1)
    }

    /// Takes the next `count` tokens and returns the first.
    pub(super) fn next_tokens(self, floor: i64, count: u32) -> Result<Token> {
        self.prepare(include_str!("sql/next_token.sql"))?.query_row(params![floor, count], |row| token(row, 0))
    }

    /// Enters a holder whose rank is its token.
    pub(super) fn insert_holder(self, row: &Holder) -> Result<()> {
        self.run(
            include_str!("sql/insert_holder.sql"),
            params![
                row.resource,
                row.token.as_i64(),
                row.claim.to_string(),
                row.permits,
                row.capacity,
                row.since,
                row.ends,
                row.span,
                row.delay,
                row.mark.boot,
                row.about
            ],
        )
    }

    pub(super) fn update_holder(self, row: &Holder) -> Result<()> {
        let state = row.state as i64;
        let (rank, token) = (row.rank.as_i64(), row.token.as_i64());
        let values = params![row.resource, rank, token, row.permits, state, row.ends, row.span, row.delay];
        self.run(include_str!("sql/update_holder.sql"), values)
    }

    pub(super) fn delete_holder(self, row: &Holder) -> Result<()> {
        self.run(include_str!("sql/delete_holder.sql"), params![row.resource, row.rank.as_i64()])
    }

    pub(super) fn insert_waiter(self, row: &Waiter) -> Result<()> {
        self.run(
            include_str!("sql/insert_waiter.sql"),
            params![
                row.resource,
                row.arrival,
                row.claim.to_string(),
                row.permits,
                row.capacity,
                row.ask.0,
                row.since,
                row.ends,
                row.span,
                row.margin,
                row.delay,
                row.mark.boot,
                row.about
            ],
        )
    }

    pub(super) fn update_waiter(self, row: &Waiter) -> Result<()> {
        let place = params![row.resource, row.arrival, row.ask.0, row.ends, row.span, row.margin, row.delay];
        self.run(include_str!("sql/update_waiter.sql"), place)
    }

    pub(super) fn delete_waiter(self, row: &Waiter) -> Result<()> {
        self.run(include_str!("sql/delete_waiter.sql"), params![row.resource, row.arrival])
    }

    pub(super) fn watch_holder(self, row: &Holder, here: Here<'_>) -> Result<()> {
        let seen = params![row.resource, row.rank.as_i64(), here.boot, here.now, row.mark.version];
        self.run(include_str!("sql/watch_holder.sql"), seen)
    }

    pub(super) fn watch_waiter(self, row: &Waiter, here: Here<'_>) -> Result<()> {
        let seen = params![row.resource, row.arrival, here.boot, here.now, row.mark.version];
        self.run(include_str!("sql/watch_waiter.sql"), seen)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        self.0.prepare_cached(sql)
    }

    fn run(self, sql: &str, values: impl Params) -> Result<()> {
        self.prepare(sql)?.execute(values).map(|_| ())
    }
}

impl Mark {
    /// The mark of a row that is written by the clock of `here`.
    pub(super) fn ours(here: Here<'_>) -> Mark {
        Mark { boot: here.boot.into(), version: 0, watch: None }
    }

    /// True if the row was written by the clock of `here`.
    pub(super) fn is_of(&self, here: Here<'_>) -> bool {
        self.boot == here.boot
    }
}

fn mark(row: &Row<'_>, at: usize) -> Result<Mark> {
    let watch: (Option<String>, Option<Nanos>, Option<i64>) = (row.get(at + 2)?, row.get(at + 3)?, row.get(at + 4)?);
    let watch = match watch {
        (Some(boot), Some(since), Some(version)) => Some((boot, since, version)),
        _ => None,
    };
    Ok(Mark { boot: row.get(at)?, version: row.get(at + 1)?, watch })
}

fn token(row: &Row<'_>, at: usize) -> Result<Token> {
    let number: i64 = row.get(at)?;
    let number = u64::try_from(number).unwrap_or(0);
    Token::new(0, number).ok_or_else(|| damaged(at, Type::Integer))
}

fn parsed<T: FromStr>(row: &Row<'_>, at: usize) -> Result<T> {
    row.get_ref(at)?.as_str()?.parse().map_err(|_| damaged(at, Type::Text))
}

fn damaged(at: usize, kind: Type) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, kind, Box::new(Damaged))
}

/// A value that no version of this engine writes.
#[derive(Debug)]
struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row holds a value that is never written")
    }
}

impl StdError for Damaged {}
