//! Acquiring: attempts with fresh ids until one is granted or the wait is over.

use super::claimant::Inner;
use super::cohort::Cohort;
use super::{Cause, Claimant, Driver};
use crate::engine::Route;
use crate::error::Error;
use crate::guard::Released;
use crate::world::World;
use futures_util::future::{Either, join, select};
use leasehold_core::{
    Failed, HoldPolicy, Input, Instant, Reply, ReqNo, Request, ResourceName, Start, Token, Trouble, Verb, Wait, Want,
};
use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long a release that nobody waits for may take.
const LATE_RELEASE: Duration = Duration::from_secs(2);

/// What is to be acquired, and how. Those of a client that order the same share one claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Order {
    pub(crate) resource: ResourceName,
    pub(crate) want: Want,
    pub(crate) policy: HoldPolicy,
    /// True if the grant is told only once the full ttl is in force.
    pub(crate) full_ttl: bool,
    /// False if the claim is shared with nobody.
    pub(crate) cohort: bool,
}

/// An order that is placed any number of times; who shares its claim is looked up once.
#[derive(Clone)]
pub(crate) struct StandingOrder {
    order: Order,
    shared_by: OnceLock<Arc<Cohort>>,
    checked: OnceLock<()>,
}

impl StandingOrder {
    pub(crate) fn new(order: Order) -> StandingOrder {
        StandingOrder { order, shared_by: OnceLock::new(), checked: OnceLock::new() }
    }

    /// Another order, shared with others.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Order)) -> StandingOrder {
        change(&mut self.order);
        StandingOrder::new(self.order)
    }

    /// Checks its policy, unless it passed before.
    pub(crate) fn check(&self, check: impl FnOnce(&HoldPolicy) -> Result<(), Error>) -> Result<(), Error> {
        if self.checked.get().is_none() {
            check(&self.order.policy).map_err(|error| error.about(&self.order.resource))?;
            self.checked.get_or_init(|| ());
        }
        Ok(())
    }

    pub(super) fn cohort(&self, driver: &Driver) -> &Arc<Cohort> {
        self.shared_by.get_or_init(|| driver.cohort_of(&self.order))
    }
}

impl Deref for StandingOrder {
    type Target = Order;

    fn deref(&self) -> &Order {
        &self.order
    }
}

impl fmt::Debug for StandingOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.order.fmt(f)
    }
}

/// A claim that holds, and the token of whoever asked.
pub(crate) type Granted = (Arc<Claimant>, Token);

/// How long an acquire waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    Once,
    For(Duration),
    Forever,
}

impl Driver {
    /// Acquires what is ordered; `None` if others held until the end of the wait.
    ///
    /// Dropping the future at any await withdraws the claim.
    pub(crate) async fn acquire(self: &Arc<Driver>, order: &StandingOrder, patience: Patience) -> Result<Option<Granted>, Error> {
        let wait = match patience {
            Patience::Once | Patience::For(Duration::ZERO) => Wait::Once,
            Patience::For(span) => Wait::Until(self.world.now() + span),
            Patience::Forever => Wait::Until(Instant::FAR),
        };
        let mut spent = 0;
        loop {
            let outcome = match wait {
                // Who waits for nobody stands in no line.
                Wait::Until(give_up) if order.cohort => self.join(order, give_up).outcome().await,
                _ => self.attempt(order, (wait, pause_after(spent))).await,
            };
            match outcome {
                Ok(granted) => return Ok(Some(granted)),
                Err(Failed::Held(_)) => return Ok(None),
                Err(Failed::Trouble(error)) => return Err(error.about(&order.resource)),
                Err(Failed::Spent) if wait == Wait::Once => {
                    return Err(Error::unavailable("the store answered too late for the lease").about(&order.resource));
                }
                Err(Failed::Spent) => spent += 1,
            }
        }
    }

    async fn attempt(self: &Arc<Driver>, order: &Order, timing: (Wait, Duration)) -> Result<Granted, Failed<Error>> {
        let pending = Pending::new(self, order, timing);
        let mut pending = pending.ok_or_else(|| Failed::Trouble(super::shut_down()))?;
        let claimant = Arc::clone(&pending.claimant);
        if let Some(request) = self.first_request(&claimant) {
            pending.asks = Some(request.no);
            let reply = self.answer(&claimant, request).await;
            pending.asks = None;
            self.ask_ended(&claimant, request.no, reply);
        }
        let outcome = claimant.until(|inner| inner.outcome.clone()).await;
        pending.undo = outcome.is_err();
        outcome.map(|token| (claimant, token))
    }

    /// The first ask travels on the caller's runtime, if that is the one which connected: no hop to another thread. `None` if
    /// there is nothing for the caller to send.
    pub(super) fn first_request(self: &Arc<Driver>, claimant: &Arc<Claimant>) -> Option<Request> {
        if !self.at_home() {
            self.step(claimant, Input::Tick);
            return None;
        }
        let mut moved = self.advance(claimant, Cause::FirstAsk);
        let own = moved.requests.pop();
        debug_assert!(moved.requests.is_empty(), "one at a time, and only that one is the caller's");
        self.dispatch_all(claimant, &mut moved);
        own
    }

    /// Sends a request by the caller's route; `None` if the machine does not wait for its answer any more.
    // Both futures are gone when this returns: a step with the answer would wake its own task by the second.
    async fn answer(self: &Arc<Driver>, claimant: &Arc<Claimant>, request: Request) -> Option<Reply<Error>> {
        let answer = pin!(self.send(claimant, request, Route::Caller));
        let moved_on = pin!(claimant.moves_on_from(request.no));
        match select(answer, moved_on).await {
            Either::Left((reply, _)) => Some(reply),
            Either::Right(_) => None,
        }
    }

    /// An ask that travelled with a task was answered, or is gone unanswered.
    ///
    /// A task may be stopped while it sends, for longer than anybody waits: what it sends then leaves behind the release of its
    /// claim, and is released once more.
    pub(super) fn ask_ended(self: &Arc<Driver>, claimant: &Arc<Claimant>, no: ReqNo, reply: Option<Reply<Error>>) {
        let mut inner = claimant.lock();
        let late = inner.is_released_before(no);
        inner.asks_against_caller += u32::from(reply.is_none());
        drop(inner);
        if let Some(reply) = reply {
            self.step(claimant, Input::Reply(no, reply));
        }
        if late {
            self.release_again(claimant);
        }
    }

    pub(super) fn release_again(self: &Arc<Driver>, claimant: &Arc<Claimant>) {
        let (driver, claimant) = (Arc::clone(self), Arc::clone(claimant));
        let request =
            Request { no: ReqNo(0), verb: Verb::Release { keep: Duration::ZERO }, io_deadline: self.world.now() + LATE_RELEASE };
        let release = async move { drop(driver.send(&claimant, request, Route::Caller).await) };
        // By the way of the ask, so that it goes out behind it.
        if self.at_home() { World::spawn_beside(release) } else { self.world.spawn(release) }
    }

    /// Gives a hold back and waits for the store's answer, for one beat at most.
    ///
    /// Dropping the future leaves the release to the background.
    pub(crate) async fn release(self: &Arc<Driver>, claimant: &Arc<Claimant>, token: Token) -> Result<Released, Error> {
        let mut moved = self.advance(claimant, Cause::GivenBack { token, used: true });
        if moved.passed_on {
            self.dispatch_all(claimant, &mut moved);
            return Ok(Released::Released);
        }
        let release = async {
            for request in moved.requests {
                match request.verb {
                    Verb::Release { .. } => self.send_release(claimant, request).await,
                    // A renewal that was due at this moment; the release does not wait for it.
                    _ => self.dispatch(claimant, request),
                }
            }
        };
        match moved.follows {
            None => release.await,
            // The release is written first.
            Some(next) => drop(join(release, self.ask_for_line(next)).await),
        }
        let ended = |inner: &mut Inner| (inner.released.is_some() || inner.done).then(|| inner.released.clone());
        match claimant.until(ended).await {
            Some(answer) => super::public_answer(answer),
            None => Ok(Released::Expired),
        }
    }

    async fn send_release(self: &Arc<Driver>, claimant: &Arc<Claimant>, request: Request) {
        if !self.at_home() || claimant.lock().asks_against_caller > 0 {
            return self.dispatch(claimant, request);
        }
        let mut unsent = Unsent { driver: self, claimant, request: Some(request) };
        if let Some(reply) = self.answer(claimant, request).await {
            unsent.request = None;
            self.step(claimant, Input::Reply(request.no, reply));
        }
    }
}

/// How long an attempt waits after so many that were spent: a store that spends them all is not asked in a hot loop.
pub(super) fn pause_after(spent: u32) -> Duration {
    match spent {
        0 | 1 => Duration::ZERO,
        more => Duration::from_millis(25) * (1 << more.min(6)),
    }
}

/// A claim whose grant somebody waits for.
struct Pending<'a> {
    driver: &'a Arc<Driver>,
    claimant: Arc<Claimant>,
    undo: bool,
    /// The ask that travels on the caller's runtime, and ends with the caller's future.
    asks: Option<ReqNo>,
}

impl<'a> Pending<'a> {
    fn new(driver: &'a Arc<Driver>, order: &Order, (wait, pause): (Wait, Duration)) -> Option<Pending<'a>> {
        let start = Start {
            claim: driver.fresh_claim(),
            want: order.want,
            policy: order.policy,
            timing: driver.timing,
            wait,
            full_ttl: order.full_ttl,
            spare: 0,
            pause,
            seed: driver.world.random(),
        };
        let claimant = driver.enlist(order.resource.clone(), (start, driver.world.now()), None)?;
        Some(Pending { driver, claimant, undo: true, asks: None })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.undo {
            let cancel = self.asks.map_or(Input::Cancel, Input::Abandon);
            self.asks.into_iter().for_each(|no| self.driver.ask_ended(&self.claimant, no, None));
            // If that ask was answered, or was given up, this is a cancel like any other.
            self.driver.step(&self.claimant, cancel);
        }
    }
}

/// A release whose future may be dropped before it left.
struct Unsent<'a> {
    driver: &'a Arc<Driver>,
    claimant: &'a Arc<Claimant>,
    request: Option<Request>,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request {
            let unanswered = Reply::Release(Err(Error::unanswered()));
            self.driver.step(self.claimant, Input::Reply(request.no, unanswered));
        }
    }
}
