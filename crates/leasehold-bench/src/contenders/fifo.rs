//! Floor of a fair hand-off: a queue in a list, grants pushed to the next waiter's process on its one connection.

use super::bare::fresh_id;
use super::{Seat, TTL};
use crate::Fault;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, Script, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Who of this process waits, by the id of the claim.
#[derive(Default)]
struct Waiting(Mutex<HashMap<String, oneshot::Sender<()>>>);

impl Waiting {
    fn enter(&self, id: &str) -> oneshot::Receiver<()> {
        let (granted, grant) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), granted);
        grant
    }

    fn leave(&self, id: &str) -> Option<oneshot::Sender<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// Wakes the waiter that a push names.
    fn heard(&self, push: &PushInfo) -> Result<(), ()> {
        if let (PushKind::Message, Some(Value::BulkString(id))) = (&push.kind, push.data.get(1))
            && let Some(granted) = std::str::from_utf8(id).ok().and_then(|id| self.leave(id))
        {
            // Its task may have been dropped at the end of the run.
            let _ = granted.send(());
        }
        Ok(())
    }
}

struct Shared {
    waiting: Arc<Waiting>,
    acquire: Script,
    release: Script,
}

pub struct Fifo {
    connection: MultiplexedConnection,
    shared: Arc<Shared>,
    key: String,
    queue: String,
    id: String,
}

/// One connection for all tasks of the process, pushes included.
///
/// # Errors
/// If the server cannot be reached.
pub async fn seats(url: &str, keys: &[String]) -> Result<Vec<Fifo>, Fault> {
    let waiting = Arc::new(Waiting::default());
    let hears = Arc::clone(&waiting);
    let config = AsyncConnectionConfig::new().set_push_sender(move |push: PushInfo| hears.heard(&push));
    let client = redis::Client::open(format!("{url}/?protocol=resp3"))?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    connection.subscribe(&fresh_id()[..16]).await?;
    let shared = Arc::new(Shared {
        waiting,
        acquire: Script::new(include_str!("../lua/fifo_acquire.lua")),
        release: Script::new(include_str!("../lua/fifo_release.lua")),
    });
    let seat = |key: &String| {
        let (connection, shared) = (connection.clone(), Arc::clone(&shared));
        Fifo { connection, shared, key: key.clone(), queue: format!("{key}:queue"), id: String::new() }
    };
    Ok(keys.iter().map(seat).collect())
}

impl Seat for Fifo {
    async fn acquire(&mut self) -> Result<u64, Fault> {
        self.id = fresh_id();
        // Registered before it asks: a push may overtake the answer.
        let grant = self.shared.waiting.enter(&self.id);
        let mut call = self.shared.acquire.key(&self.key);
        call.key(&self.queue).arg(&self.id).arg(TTL.as_millis() as u64);
        if call.invoke_async::<u64>(&mut self.connection).await? == 1 {
            self.shared.waiting.leave(&self.id);
        } else {
            grant.await?;
        }
        Ok(0)
    }

    async fn release(&mut self) -> Result<(), Fault> {
        let mut call = self.shared.release.key(&self.key);
        call.key(&self.queue).arg(&self.id).arg(TTL.as_millis() as u64);
        let given: u64 = call.invoke_async(&mut self.connection).await?;
        if given == 1 { Ok(()) } else { Err("the lock was not ours any more".into()) }
    }
}
