//! The textbook lock on the `redis` crate: `SET NX PX`, compare and delete, one connection for all tasks.

use super::{Seat, TTL};
use crate::Fault;
use redis::Script;
use redis::aio::MultiplexedConnection;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Compare and delete.
pub const RELEASE: &str = include_str!("../lua/compare_and_delete.lua");

/// Makes a fresh id for each attempt, as long as ours: 32 characters.
pub fn fresh_id() -> String {
    static PROCESS: LazyLock<u32> = LazyLock::new(std::process::id);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}{:016x}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed))
}

pub struct Bare {
    connection: MultiplexedConnection,
    release: Arc<Script>,
    key: String,
    id: String,
}

/// One connection for all tasks of the process.
///
/// # Errors
/// If the server cannot be reached.
pub async fn seats(url: &str, keys: &[String]) -> Result<Vec<Bare>, Fault> {
    let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let release = Arc::new(Script::new(RELEASE));
    let seat = |key: &String| Bare {
        connection: connection.clone(),
        release: Arc::clone(&release),
        key: key.clone(),
        id: String::new(),
    };
    Ok(keys.iter().map(seat).collect())
}

impl Seat for Bare {
    async fn acquire(&mut self) -> Result<u64, Fault> {
        self.id = fresh_id();
        let mut set = redis::cmd("SET");
        set.arg(&self.key).arg(&self.id).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
        while !set.query_async::<bool>(&mut self.connection).await? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(0)
    }

    async fn release(&mut self) -> Result<(), Fault> {
        let deleted: u64 = self.release.key(&self.key).arg(&self.id).invoke_async(&mut self.connection).await?;
        if deleted == 1 { Ok(()) } else { Err("the lock was not ours any more".into()) }
    }
}
