//! This library, by its public API.

use super::{Seat, TTL};
use crate::Fault;
use leasehold::{Client, Guard, Mutex};

/// The lock `name`: the only place that says whether tasks of one process pass it on among themselves.
pub fn ours(client: &Client, name: &str, cohort: bool) -> Result<Mutex, Fault> {
    Ok(client.mutex(name)?.ttl(TTL).cohort(cohort))
}

/// A task with a handle of its own.
pub struct Ours {
    lock: Mutex,
    held: Option<Guard>,
}

impl Ours {
    pub fn new(lock: Mutex) -> Ours {
        Ours { lock, held: None }
    }
}

impl Seat for Ours {
    async fn acquire(&mut self) -> Result<u64, Fault> {
        let guard = self.lock.acquire().await?;
        let token = guard.token().as_u64();
        self.held = Some(guard);
        Ok(token)
    }

    async fn release(&mut self) -> Result<(), Fault> {
        let guard = self.held.take().ok_or("nothing is held")?;
        match guard.release().await? {
            leasehold::Released::Released => Ok(()),
            other => Err(format!("a release was answered {other:?}").into()),
        }
    }
}
