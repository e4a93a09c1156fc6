//! A hold that outlives its client, by its claim's id.

use crate::driver::plain_answer;
use crate::engine::{PartyState, ReleaseCall, RenewCall, Route};
use crate::error::Error;
use crate::guard::Released;
use crate::session::Session;
use leasehold_core::{ClaimId, HoldPolicy, Instant, Manner, RenewReply, ResourceName, Terms, Want};
use std::sync::Arc;
use std::time::Duration;

/// A hold that outlives its client ([`Guard::detach`](crate::Guard::detach)): renewed and released by its claim's id.
#[derive(Clone, Debug)]
pub struct Claimed {
    session: Arc<Session>,
    resource: ResourceName,
    claim: ClaimId,
}

/// How long a call waits for its answer.
const LIMIT: Duration = Duration::from_secs(2);

impl Claimed {
    pub(crate) fn new(session: Arc<Session>, resource: ResourceName, claim: ClaimId) -> Claimed {
        Claimed { session, resource, claim }
    }

    /// Lengthens the hold to `ttl` from now; never shortens it. `None` if the claim does not hold.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a ttl out of its limits,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer within 4 s.
    ///
    /// # Cancel safety
    /// The renewal may have come through.
    pub async fn renew(&self, ttl: Duration) -> Result<Option<Instant>, Error> {
        let policy = HoldPolicy::with_ttl(ttl);
        policy.check()?;
        let driver = self.session.driver();
        let terms = Terms { ttl, lock_delay: Duration::ZERO, place_life: policy.place_life(), place_margin: policy.beat() };
        let (resource, claim, want) = (self.resource.clone(), self.claim, Want::ALL_OF_ONE);
        let engine = Arc::clone(driver.engine());
        // Another's live hold stays one: marked as detached, it could be released under a holder that believes in it.
        let detached = !self.is_alive().await?;
        let sent_at = driver.world().now();
        let call = RenewCall { detached, ..RenewCall::new(resource, claim, want, terms) };
        let reply = driver.call(LIMIT, |io_deadline| engine.renew(RenewCall { io_deadline, ..call }));
        match reply.await.map_err(|error| error.about(&self.resource))? {
            RenewReply::Renewed(_) => Ok(Some(driver.timing().deadline(sent_at, ttl))),
            RenewReply::Lost => Ok(None),
        }
    }

    /// Ends the hold. A hold that was not detached is revoked instead: its holder is told, and the next grant waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer within 4 s.
    ///
    /// # Cancel safety
    /// The release may have come through.
    pub async fn release(&self) -> Result<Released, Error> {
        let alive = self.is_alive().await?;
        self.end(if alive { Manner::Revoke } else { Manner::Own { keep: Duration::ZERO } }).await
    }

    /// True if a client holds by it that was not detached.
    async fn is_alive(&self) -> Result<bool, Error> {
        let driver = self.session.driver();
        let (engine, resource) = (Arc::clone(driver.engine()), self.resource.clone());
        let inspection = driver.call(LIMIT, |io_deadline| engine.inspect(resource, io_deadline)).await;
        let inspection = inspection.map_err(|error| error.about(&self.resource))?;
        let record = inspection.holders.iter().find(|holder| holder.claim == Some(self.claim));
        Ok(record.is_some_and(|holder| holder.state == PartyState::Live))
    }

    pub(crate) async fn end(&self, manner: Manner) -> Result<Released, Error> {
        let driver = self.session.driver();
        let (engine, resource, claim) = (Arc::clone(driver.engine()), self.resource.clone(), self.claim);
        let reply = driver.call(LIMIT, |io_deadline| {
            engine.release(ReleaseCall { resource, claim, manner, route: Route::Driver, io_deadline })
        });
        reply.await.map(plain_answer).map_err(|error| error.about(&self.resource))
    }
}
