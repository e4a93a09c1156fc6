//! The textbook blocking client: a connection and a thread per task, waits by sleeping.

use super::bare::{RELEASE, fresh_id};
use super::{Seat, TTL};
use crate::Fault;
use redis::{Connection, Script};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a wait says that was ended with its run.
pub const OVER: &str = "the run is over";

pub struct Poll {
    connection: Connection,
    release: Script,
    key: String,
    id: String,
    pause: Duration,
    stop: Arc<AtomicBool>,
}

/// A connection for each task; `stop` ends a wait, since a blocked thread cannot be dropped.
///
/// # Errors
/// If the server cannot be reached.
pub fn seats(url: &str, keys: &[String], pause: Duration, stop: &Arc<AtomicBool>) -> Result<Vec<Poll>, Fault> {
    let client = redis::Client::open(url)?;
    let seat = |key: &String| {
        let connection = client.get_connection()?;
        let (key, stop) = (key.clone(), Arc::clone(stop));
        Ok(Poll { connection, release: Script::new(RELEASE), key, id: String::new(), pause, stop })
    };
    keys.iter().map(seat).collect()
}

impl Seat for Poll {
    const BLOCKS: bool = true;

    async fn acquire(&mut self) -> Result<u64, Fault> {
        self.id = fresh_id();
        let mut set = redis::cmd("SET");
        set.arg(&self.key).arg(&self.id).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
        while !set.query::<bool>(&mut self.connection)? {
            if self.stop.load(Ordering::Relaxed) {
                return Err(OVER.into());
            }
            std::thread::sleep(self.pause);
        }
        Ok(0)
    }

    async fn release(&mut self) -> Result<(), Fault> {
        let deleted: u64 = self.release.key(&self.key).arg(&self.id).invoke(&mut self.connection)?;
        if deleted == 1 { Ok(()) } else { Err("the lock was not ours any more".into()) }
    }
}
