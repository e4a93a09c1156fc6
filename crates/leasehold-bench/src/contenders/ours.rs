//! This library, by its public API.

use super::{Seat, TTL};
use crate::Fault;
use leasehold::observers::Metrics;
use leasehold::{Client, ClientBuilder, Guard, Mutex};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::sync::Arc;
use std::time::Duration;

/// The lock `name`: the only place that says whether tasks of one process pass it on among themselves.
pub fn ours(client: &Client, name: &str, cohort: bool) -> Result<Mutex, Fault> {
    Ok(client.mutex(name)?.ttl(TTL).cohort(cohort))
}

/// Counts all that happens to the client's locks as an application would, in the usual recorder with its upkeep.
pub fn observed(builder: ClientBuilder) -> Result<ClientBuilder, Fault> {
    let recorder = PrometheusBuilder::new().set_buckets(&Metrics::BUCKETS)?.build_recorder();
    let upkeep = recorder.handle();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            upkeep.run_upkeep();
        }
    });
    Ok(builder.observer(Arc::new(Metrics::on(Arc::new(recorder)))))
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
