//! The embedded engine.
#![doc = include_str!("docs.md")]

mod book;
mod config;
mod file;
pub mod probe;
mod rows;
mod store;
mod sweep;
mod view;
mod wake;
mod worker;

pub use config::default_path;

use crate::engine::{About, Answer, Capabilities, ClaimCall, Ear, Engine, Inspection, Listener, Reach, ReleaseCall, RenewCall};
use crate::error::Error;
use crate::world::World;
use config::Config;
use leasehold_core::{ClaimReply, Instant, ReleaseReply, RenewReply, ResourceName};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use store::Store;
use tokio::sync::oneshot;
use worker::{Job, NAME, Reply, Worker};

/// One client's engine on a lock database.
pub struct SqliteEngine {
    jobs: Sender<Job>,
    ear: Ear,
}

impl SqliteEngine {
    /// Opens the lock database at `url` (`sqlite:PATH`), or makes it, for the client `client`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the URL, the file system or the file is not usable,
    /// [`ErrorKind::Permission`](crate::ErrorKind::Permission) if this user may not use it, and
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if it cannot be had at present.
    pub fn open(url: &str, world: World, client: u64, about: About) -> Result<Arc<dyn Engine>, Error> {
        SqliteEngine::start(url, world, client, &about).map_err(|error| error.on(NAME))
    }

    fn start(url: &str, world: World, client: u64, about: &About) -> Result<Arc<dyn Engine>, Error> {
        let store = Store::open(Config::parse(url)?, world.clone(), about)?;
        let (jobs, todo) = channel();
        let ear = Ear::default();
        let worker = Worker::new(store, client, (todo, ear.clone()), world)?;
        World::thread("leasehold-sqlite", move || worker.run())
            .map_err(|error| Error::unavailable("no thread for the lock database").caused_by(error))?;
        Ok(Arc::new(SqliteEngine { jobs, ear }))
    }

    /// Hands a verb over at once, so that the order of the calls is the order of execution.
    fn hand_over<T: Send + 'static>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(job(reply)).is_err() {
            return Box::pin(async { Err(worker::closed()) });
        }
        Box::pin(async { answer.await.unwrap_or_else(|_| Err(worker::closed().maybe_done())) })
    }
}

impl fmt::Debug for SqliteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteEngine").finish_non_exhaustive()
    }
}

impl Engine for SqliteEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities { queue: true, permits: true, push: true, ..Capabilities::new(NAME, Reach::Host) }
    }

    fn claim(&self, call: ClaimCall) -> Answer<ClaimReply> {
        self.hand_over(|reply| Job::Claim(call, reply))
    }

    fn renew(&self, call: RenewCall) -> Answer<RenewReply> {
        self.hand_over(|reply| Job::Renew(call, reply))
    }

    fn release(&self, call: ReleaseCall) -> Answer<ReleaseReply> {
        self.hand_over(|reply| Job::Release(call, reply))
    }

    fn inspect(&self, resource: ResourceName, io_deadline: Instant) -> Answer<Inspection> {
        self.hand_over(|reply| Job::Inspect(resource, io_deadline, reply))
    }

    fn list(&self, io_deadline: Instant) -> Answer<Vec<Inspection>> {
        self.hand_over(|reply| Job::List(io_deadline, reply))
    }

    fn listen(&self, listener: Listener) {
        self.ear.listen(listener);
    }

    fn close(&self) -> Answer<()> {
        let closing = self.hand_over(Job::Close);
        // One that is closed already is closed.
        Box::pin(async { closing.await.or(Ok(())) })
    }
}
