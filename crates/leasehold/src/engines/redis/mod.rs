//! The engine for one Redis server, 7.0 or newer, or Valkey.
//!
#![doc = include_str!("docs.md")]

mod bells;
mod book;
mod config;
mod fault;
mod inner;
mod ledger;
mod link;
mod look;
mod outbox;
mod pace;
pub mod probe;
mod registry;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod turns;
mod upkeep;
mod verbs;

pub use config::RedisOptions;
pub use stream::Stream;

use crate::engine::{About, Answer, Capabilities, ClaimCall, Engine, Inspection, Listener, Reach, ReleaseCall, RenewCall};
use crate::error::Error;
use crate::world::World;
use config::Target;
use inner::Inner;
use leasehold_core::{ClaimReply, Instant, ReleaseReply, RenewReply, ResourceName};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// The engine's name, for errors.
const NAME: &str = "redis";

/// A client of one Redis server.
pub struct RedisEngine {
    inner: Arc<Inner>,
}

impl RedisEngine {
    /// Connects to the server at `url`: `redis://[user[:password]@]host[:port][/db][?prefix=…]`, `rediss://…` (also `?ca=FILE`),
    /// or `redis+unix:///path?db=…&user=…&password=…&prefix=…`.
    ///
    /// `client` is the half that the ids of its claims share, `about` what others see of it. Background work runs on `world`;
    /// if this is called on a tokio runtime, calls by [`Route::Caller`](crate::engine::Route) that are polled on it have a
    /// connection of their own there.
    ///
    /// # Errors
    /// Config for what the URL says, permission for user, password and rights, unsupported for servers that are too old or
    /// refuse scripts, else unavailable. There is one attempt; later losses are mended in the background.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing stays behind.
    pub async fn connect(
        url: &str,
        options: RedisOptions,
        world: &World,
        (client, about): (u64, About),
    ) -> Result<Arc<RedisEngine>, Error> {
        let target = Target::read(url, &options).map_err(|error| error.on(NAME))?;
        let inner = Arc::new(Inner::new(target, world.clone(), client, &about));
        // Its drop ends the background work, also if this future is dropped.
        let engine = Arc::new(RedisEngine { inner: inner.clone() });
        let (told, first) = oneshot::channel();
        upkeep::watch_calls(&inner);
        world.spawn(upkeep::keep_driver(Arc::downgrade(&inner), told));
        first.await.unwrap_or_else(|_| Err(Error::unavailable("the driver's thread is gone"))).map_err(|error| error.on(NAME))?;
        world.spawn(registry::keep(inner.clone()));
        let (settled, caller) = oneshot::channel();
        inner.connect_caller(Some(settled));
        // The sender is dropped when the attempt has ended, well or not.
        let _ = caller.await;
        Ok(engine)
    }

    /// What the user should know about this server, such as that it may evict locks.
    pub fn warnings(&self) -> Vec<String> {
        self.inner.warnings.lock().expect("nothing panics under this lock").clone()
    }
}

impl fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Drop for RedisEngine {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl Engine for RedisEngine {
    fn capabilities(&self) -> Capabilities {
        let push = self.inner.pushes.load(Ordering::Acquire);
        Capabilities { queue: true, push, ..Capabilities::new(NAME, Reach::Network) }
    }

    fn claim(&self, call: ClaimCall) -> Answer<ClaimReply> {
        let inner = self.inner.clone();
        Box::pin(async move { verbs::claim_verb(&inner, &call).await.map_err(|error| error.on(NAME).about(&call.resource)) })
    }

    fn renew(&self, call: RenewCall) -> Answer<RenewReply> {
        let (inner, resource) = (self.inner.clone(), call.resource.clone());
        Box::pin(async move { verbs::renew_verb(inner, call).await.map_err(|error| error.on(NAME).about(&resource)) })
    }

    fn release(&self, call: ReleaseCall) -> Answer<ReleaseReply> {
        let inner = self.inner.clone();
        Box::pin(async move { verbs::release_verb(&inner, &call).await.map_err(|error| error.on(NAME).about(&call.resource)) })
    }

    fn inspect(&self, resource: ResourceName, io_deadline: Instant) -> Answer<Inspection> {
        let (inner, about) = (self.inner.clone(), resource.clone());
        Box::pin(
            async move { look::inspect_verb(inner, resource, io_deadline).await.map_err(|error| error.on(NAME).about(&about)) },
        )
    }

    fn list(&self, io_deadline: Instant) -> Answer<Vec<Inspection>> {
        let inner = self.inner.clone();
        Box::pin(async move { look::list_verb(inner, io_deadline).await.map_err(|error| error.on(NAME)) })
    }

    fn listen(&self, listener: Listener) {
        self.inner.ear.listen(listener);
    }

    fn close(&self) -> Answer<()> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let result = match inner.close_to_calls() {
                Some(link) => registry::say_goodbye(&inner, &link).await,
                None => Ok(()),
            };
            inner.close();
            result.map_err(|fault| fault.into_error(&inner.target.space).on(NAME))
        })
    }
}
