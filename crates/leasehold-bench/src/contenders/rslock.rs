//! The crate `rslock`, as it comes or told to retry at once.

use super::{Seat, TTL};
use crate::Fault;
use rslock::{Lock, LockManager};
use std::time::Duration;

pub struct Rslock {
    manager: LockManager,
    key: String,
    held: Option<Lock>,
}

/// One manager for all tasks of the process, as its documentation shows. It draws whole milliseconds below `retry`.
pub fn seats(url: &str, keys: &[String], retry: Option<Duration>) -> Vec<Rslock> {
    let mut manager = LockManager::new(vec![url]);
    if let Some(delay) = retry {
        manager.set_retry(u32::MAX, delay);
    }
    keys.iter().map(|key| Rslock { manager: manager.clone(), key: key.clone(), held: None }).collect()
}

impl Seat for Rslock {
    async fn acquire(&mut self) -> Result<u64, Fault> {
        self.held = Some(self.manager.acquire_no_guard(self.key.as_str(), TTL).await?);
        Ok(0)
    }

    async fn release(&mut self) -> Result<(), Fault> {
        let lock = self.held.take().ok_or("nothing is held")?;
        self.manager.unlock(&lock).await;
        Ok(())
    }
}
