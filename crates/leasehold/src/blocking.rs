//! The same lock for code without async: same names, same promises, threads park while the driver's thread does the work.

use crate::engine::Inspection;
use crate::world::block_on;
use crate::{ClaimId, ClientBuilder, Detached, Error, GuardState, HoldPolicy, Instant, LostWhy, Owner, Released, Renewal};
use crate::{ResourceName, Token};
use std::time::Duration;

/// One connection to a store; see [`crate::Client`].
#[derive(Clone, Debug)]
pub struct Client {
    inner: crate::Client,
}

/// A lock that one holder at a time has; see [`crate::Mutex`].
#[derive(Clone, Debug)]
pub struct Mutex {
    inner: crate::Mutex,
}

/// Proof of a hold; see [`crate::Guard`].
#[derive(Clone, Debug)]
pub struct Guard {
    inner: crate::Guard,
}

/// A hold that outlives its client; see [`crate::Claimed`].
#[derive(Clone, Debug)]
pub struct Claimed {
    inner: crate::Claimed,
}

impl Client {
    /// Connects to the store that `url` names; see [`crate::Client::connect`].
    ///
    /// # Errors
    /// Those of [`crate::Client::connect`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), leasehold::Error> {
    /// use leasehold::blocking::Client;
    ///
    /// let client = Client::connect("memory:")?;
    /// let guard = client.mutex("stock:shoes:sell")?.acquire()?;
    /// guard.release()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(url: &str) -> Result<Client, Error> {
        Client::connect_by(ClientBuilder::default(), url)
    }

    /// Connects with the options of `builder`.
    ///
    /// # Errors
    /// Those of [`crate::Client::connect`].
    pub fn connect_by(builder: ClientBuilder, url: &str) -> Result<Client, Error> {
        Ok(Client { inner: block_on(builder.connect(url))? })
    }

    /// A lock on `name`; see [`crate::Client::mutex`].
    ///
    /// # Errors
    /// Those of [`crate::Client::mutex`].
    pub fn mutex(&self, name: impl AsRef<str>) -> Result<Mutex, Error> {
        Ok(Mutex { inner: self.inner.mutex(name)? })
    }

    /// A hold that outlives its client; see [`crate::Client::claimed`].
    ///
    /// # Errors
    /// Those of [`crate::Client::claimed`].
    pub fn claimed(&self, name: impl AsRef<str>, claim: ClaimId) -> Result<Claimed, Error> {
        Ok(Claimed { inner: self.inner.claimed(name, claim)? })
    }

    /// Who holds `name` and who waits for it; see [`crate::Client::inspect`].
    ///
    /// # Errors
    /// Those of [`crate::Client::inspect`].
    pub fn inspect(&self, name: impl AsRef<str>) -> Result<Inspection, Error> {
        block_on(self.inner.inspect(name))
    }

    /// Every resource held or waited for; see [`crate::Client::list`].
    ///
    /// # Errors
    /// Those of [`crate::Client::list`].
    pub fn list(&self) -> Result<Vec<Inspection>, Error> {
        block_on(self.inner.list())
    }

    /// Takes `name` away from its holders; see [`crate::Client::revoke`].
    ///
    /// # Errors
    /// Those of [`crate::Client::revoke`].
    pub fn revoke(&self, name: impl AsRef<str>, now: bool) -> Result<usize, Error> {
        block_on(self.inner.revoke(name, now))
    }

    /// Ends every hold and wait, and closes; see [`crate::Client::shutdown`].
    pub fn shutdown(self) {
        block_on(self.inner.shutdown());
    }
}

impl Mutex {
    /// See [`crate::Mutex::resource`].
    pub fn resource(&self) -> &ResourceName {
        self.inner.resource()
    }

    /// See [`crate::Mutex::ttl`].
    pub fn ttl(self, ttl: Duration) -> Mutex {
        Mutex { inner: self.inner.ttl(ttl) }
    }

    /// See [`crate::Mutex::renew`].
    pub fn renew(self, renew: Renewal) -> Mutex {
        Mutex { inner: self.inner.renew(renew) }
    }

    /// See [`crate::Mutex::max_hold`].
    pub fn max_hold(self, max_hold: Duration) -> Mutex {
        Mutex { inner: self.inner.max_hold(max_hold) }
    }

    /// See [`crate::Mutex::min_hold`].
    pub fn min_hold(self, min_hold: Duration) -> Mutex {
        Mutex { inner: self.inner.min_hold(min_hold) }
    }

    /// See [`crate::Mutex::lock_delay`].
    pub fn lock_delay(self, lock_delay: Duration) -> Mutex {
        Mutex { inner: self.inner.lock_delay(lock_delay) }
    }

    /// See [`crate::Mutex::policy`].
    pub fn policy(self, policy: HoldPolicy) -> Mutex {
        Mutex { inner: self.inner.policy(policy) }
    }

    /// See [`crate::Mutex::full_ttl`].
    pub fn full_ttl(self, full_ttl: bool) -> Mutex {
        Mutex { inner: self.inner.full_ttl(full_ttl) }
    }

    /// See [`crate::Mutex::owner`]; [`Owner::current_thread`] makes the lock re-entrant by thread.
    pub fn owner(self, owner: Owner) -> Mutex {
        Mutex { inner: self.inner.owner(owner) }
    }

    /// Acquires if nobody holds; see [`crate::Mutex::try_acquire`].
    ///
    /// # Errors
    /// Those of [`crate::Mutex::try_acquire`].
    pub fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        Ok(block_on(self.inner.try_acquire())?.map(Guard::of))
    }

    /// Acquires, waiting as long as it takes; see [`crate::Mutex::acquire`].
    ///
    /// # Errors
    /// Those of [`crate::Mutex::acquire`].
    pub fn acquire(&self) -> Result<Guard, Error> {
        Ok(Guard::of(block_on(self.inner.acquire())?))
    }

    /// Acquires, waiting for `timeout` at most; see [`crate::Mutex::acquire_timeout`].
    ///
    /// # Errors
    /// Those of [`crate::Mutex::acquire_timeout`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Guard>, Error> {
        Ok(block_on(self.inner.acquire_timeout(timeout))?.map(Guard::of))
    }
}

impl Guard {
    fn of(inner: crate::Guard) -> Guard {
        Guard { inner }
    }

    /// See [`crate::Guard::resource`].
    pub fn resource(&self) -> &ResourceName {
        self.inner.resource()
    }

    /// See [`crate::Guard::token`].
    pub fn token(&self) -> Token {
        self.inner.token()
    }

    /// See [`crate::Guard::claim`].
    pub fn claim(&self) -> ClaimId {
        self.inner.claim()
    }

    /// See [`crate::Guard::state`].
    pub fn state(&self) -> GuardState {
        self.inner.state()
    }

    /// See [`crate::Guard::remaining`].
    pub fn remaining(&self) -> Duration {
        self.inner.remaining()
    }

    /// See [`crate::Guard::deadline`].
    pub fn deadline(&self) -> Instant {
        self.inner.deadline()
    }

    /// See [`crate::Guard::check`].
    ///
    /// # Errors
    /// Those of [`crate::Guard::check`].
    pub fn check(&self, min_left: Duration) -> Result<(), Error> {
        self.inner.check(min_left)
    }

    /// Blocks until the hold is lost; see [`crate::Guard::lost`].
    pub fn lost(&self) -> LostWhy {
        block_on(self.inner.lost())
    }

    /// See [`crate::Guard::on_lost`].
    pub fn on_lost(&self, then: impl FnOnce(LostWhy) + Send + 'static) {
        self.inner.on_lost(then);
    }

    /// Gives the hold back; see [`crate::Guard::release`].
    ///
    /// # Errors
    /// Those of [`crate::Guard::release`].
    pub fn release(self) -> Result<Released, Error> {
        block_on(self.inner.release())
    }

    /// Leaves the hold in the store; see [`crate::Guard::detach`].
    ///
    /// # Errors
    /// Those of [`crate::Guard::detach`].
    pub fn detach(self) -> Result<Detached, Error> {
        block_on(self.inner.detach())
    }
}

impl Claimed {
    /// See [`crate::Claimed::renew`].
    ///
    /// # Errors
    /// Those of [`crate::Claimed::renew`].
    pub fn renew(&self, ttl: Duration) -> Result<Option<Instant>, Error> {
        block_on(self.inner.renew(ttl))
    }

    /// See [`crate::Claimed::release`].
    ///
    /// # Errors
    /// Those of [`crate::Claimed::release`].
    pub fn release(&self) -> Result<Released, Error> {
        block_on(self.inner.release())
    }
}
