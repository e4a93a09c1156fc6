//! What a process of a run writes down, and the loop in which a task takes and gives back its lock.

use crate::Fault;
use crate::clock;
use crate::contenders::Seat;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One hold: instants in nanoseconds of the host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which task of the process.
    pub task: u64,
    /// Before it asked.
    pub asked: u64,
    /// After it was told that it holds.
    pub start: u64,
    /// Before it gave back.
    pub end: u64,
    /// Its token, 0 if there is none.
    pub token: u64,
}

const SIZE: usize = 40;

impl Record {
    fn fields(&self) -> [u64; 5] {
        [self.task, self.asked, self.start, self.end, self.token]
    }

    fn read(bytes: &[u8]) -> Record {
        let field = |at: usize| u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("a field has eight bytes"));
        Record { task: field(0), asked: field(1), start: field(2), end: field(3), token: field(4) }
    }
}

/// Writes `records` so that [`read`] finds them again.
///
/// # Errors
/// Those of `to`.
pub fn write(records: &[Record], to: &mut impl Write) -> io::Result<()> {
    let bytes: Vec<u8> = records.iter().flat_map(Record::fields).flat_map(u64::to_le_bytes).collect();
    to.write_all(&bytes)
}

/// Reads `count` records.
///
/// # Errors
/// Those of `from`.
pub fn read(count: usize, from: &mut impl Read) -> io::Result<Vec<Record>> {
    let mut bytes = vec![0; count * SIZE];
    from.read_exact(&mut bytes)?;
    Ok(bytes.chunks(SIZE).map(Record::read).collect())
}

/// How long a lock is held, in microseconds, drawn evenly between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub least_us: u64,
    pub most_us: u64,
}

impl Hold {
    pub const NONE: Hold = Hold { least_us: 0, most_us: 0 };

    pub const fn ms(least: u64, most: u64) -> Hold {
        Hold { least_us: least * 1_000, most_us: most * 1_000 }
    }

    fn draw(self, chance: &mut u64) -> Duration {
        // xorshift: good enough to keep polls and holds out of step, and the same for every contender.
        *chance ^= *chance << 13;
        *chance ^= *chance >> 7;
        *chance ^= *chance << 17;
        Duration::from_micros(self.least_us + *chance % (self.most_us - self.least_us + 1))
    }
}

/// When to begin, when to end, how long to hold.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Tasks begin.
    pub start: u64,
    /// Counting begins.
    pub from: u64,
    /// Counting ends, and no task asks again.
    pub end: u64,
    pub hold: Hold,
}

/// Where a task's records go; kept outside of the task, so that those of a task that hangs are there too.
pub type Notes = Arc<Mutex<Vec<Record>>>;

/// Takes and gives back one lock until the plan ends.
///
/// # Errors
/// Those of the lock.
pub async fn turns<S: Seat>(task: u64, mut seat: S, plan: Plan, notes: Notes) -> Result<(), Fault> {
    let mut chance = 0x9e37_79b9_7f4a_7c15 ^ (task + 1) << 20 ^ u64::from(std::process::id());
    pause(S::BLOCKS, Duration::from_nanos(plan.start.saturating_sub(clock::now()))).await;
    loop {
        let asked = clock::now();
        if asked >= plan.end {
            return Ok(());
        }
        let token = seat.acquire().await?;
        let start = clock::now();
        pause(S::BLOCKS, plan.hold.draw(&mut chance)).await;
        let end = clock::now();
        // Written down before the release: a hold that was never given back is a hold too.
        notes.lock().unwrap_or_else(PoisonError::into_inner).push(Record { task, asked, start, end, token });
        seat.release().await?;
    }
}

async fn pause(blocks: bool, time: Duration) {
    match (time.is_zero(), blocks) {
        (true, _) => {}
        (false, true) => std::thread::sleep(time),
        (false, false) => tokio::time::sleep(time).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let records: Vec<Record> =
            (0..5).map(|n| Record { task: n, asked: 1, start: 2, end: u64::MAX, token: n << 50 }).collect();
        let mut bytes = Vec::new();
        write(&records, &mut bytes).unwrap();

        assert_eq!(read(5, &mut bytes.as_slice()).unwrap(), records);
        assert!(read(6, &mut bytes.as_slice()).is_err());
    }

    #[test]
    fn holds_are_drawn_between_their_bounds() {
        let mut chance = 1;
        let drawn: Vec<Duration> = (0..1_000).map(|_| Hold::ms(1, 20).draw(&mut chance)).collect();

        assert!(drawn.iter().all(|time| (1..=20).contains(&time.as_millis())));
        assert!(drawn.iter().max().unwrap().as_millis() > 15 && drawn.iter().min().unwrap().as_millis() < 5);
        assert!(Hold::NONE.draw(&mut chance).is_zero());
    }
}
