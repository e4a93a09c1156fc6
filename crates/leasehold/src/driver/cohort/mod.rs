//! The tasks of this client that want the same resource on the same terms: their line, and the one claim they share.
//!
//! A cohort's lock is taken before that of its claim, and held while the claim's machine moves, so that whose turn it is
//! changes together with what the machine says. It lives while anybody has a handle, holds or waits.

mod waiter;

use super::acquire::Order;
use super::claimant::{Claimant, Inner, OnLost};
use super::timers::Planned;
use super::{Driver, Due, shut_down};
use crate::error::Error;
use crate::observer::{Failure, What};
use leasehold_core::{
    Cohort as Machine, Contention, Failed, Input, Instant, LostWhy, Request, Start, Token, Trouble, Turn, Wait,
};
use smallvec::SmallVec;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The tasks of this client that want the same.
pub(super) struct Cohort {
    pub(super) order: Order,
    state: Mutex<State>,
}

/// What is only touched under the cohort's lock.
pub(super) struct State {
    machine: Machine<Seat>,
    /// The claim that all of them share, while it may hold; there is one whenever somebody waits.
    claimant: Option<Arc<Claimant>>,
    /// How many claims in a row were granted too late.
    spent: u32,
    /// True if the claim follows one that held, and the store was not found silent since.
    follows: bool,
    timer: Option<Planned>,
}

/// What a task that waited is told: by which claim it holds, and with which token.
pub(super) type Verdict = Result<(Arc<Claimant>, Token), Failed<Error>>;

/// A task in line.
pub(super) struct Seat {
    told: oneshot::Sender<Verdict>,
    since: Instant,
}

/// What is left to do once no lock is held: requests to send, and others' code to run.
#[derive(Default)]
pub(super) struct Aftermath {
    pub(super) requests: SmallVec<[Request; 2]>,
    pub(super) cancelled: Option<CancellationToken>,
    pub(super) unheard: Vec<OnLost>,
    /// True if a hold was passed on.
    pub(super) passed_on: bool,
    told: SmallVec<[(Seat, Verdict); 1]>,
    /// The claim that those who wait share from here on; it asks next.
    pub(super) next: Option<Arc<Claimant>>,
}

impl Cohort {
    pub(super) fn new(order: Order) -> Arc<Cohort> {
        let machine = Machine::new(order.policy.min_hold);
        Arc::new(Cohort { order, state: Mutex::new(State { machine, claimant: None, spent: 0, follows: false, timer: None }) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Why those in line do not hold.
    fn obstacle(&self, claimant: &Claimant) -> Failed<Error> {
        let inner = claimant.lock();
        // Until it is answered, others may hold just as they did before.
        let never_answered = inner.machine.deadline().is_none() && !self.follows;
        match inner.machine.obstacle() {
            Some(why) => why,
            None if never_answered => Failed::Trouble(Error::unanswered()),
            None => Failed::Held(Contention { by: Some(claimant.claim), lease_left: None }),
        }
    }

    fn shares(&self, claimant: &Arc<Claimant>) -> bool {
        self.claimant.as_ref().is_some_and(|current| Arc::ptr_eq(current, claimant))
    }

    /// True if the hold is to be renewed ahead of time, so that it can be passed on.
    fn is_to_be_refreshed(&self, inner: &Inner, now: Instant) -> bool {
        self.machine.hand_offs_left().is_some_and(|left| inner.machine.needs_refresh(now, left))
    }

    /// True if nobody has this claim, and nobody waits for it any more.
    pub(super) fn is_rid_of(&self, claimant: &Arc<Claimant>) -> bool {
        self.shares(claimant) && self.machine.wanted() == Turn::GiveBack
    }

    /// What a hold that is given back comes to: the next in line has it, or it goes back to the store.
    pub(super) fn freed(&mut self, claimant: &Arc<Claimant>, inner: &Inner, (now, used): (Instant, bool)) -> Turn {
        if !self.shares(claimant) || inner.machine.deadline().is_none() {
            return Turn::GiveBack;
        }
        self.machine.freed(now, used, inner.machine.alone_at())
    }
}

impl Driver {
    /// Keeps the line in step with what the shared claim's machine has just told; returns what that is to do next.
    pub(super) fn follow(
        &self,
        (state, claimant): (&mut State, &Arc<Claimant>),
        inner: &mut Inner,
        (now, after): (Instant, &mut Aftermath),
    ) -> Option<Input<Error>> {
        let granted = inner.fresh_grant.take();
        if !state.shares(claimant) {
            return None;
        }
        if !inner.machine.is_open() {
            self.claim_is_over(state, claimant, (inner, after));
            // A grant that was over before anybody heard of it is nobody's, so nobody else would release it.
            return granted.map(|_| Input::Release);
        }
        if let Some(token) = granted {
            let Some(seat) = state.machine.granted(now) else { return Some(Input::Cancel) };
            state.spent = 0;
            self.show_grant((claimant, inner), &seat, (now, token));
            after.told.push((seat, Ok((Arc::clone(claimant), token))));
        }
        (granted.is_some() && state.is_to_be_refreshed(inner, now)).then_some(Input::Refresh)
    }

    /// How long its own attempt has lasted, not how long the claim that it shares has been there.
    fn show_grant(&self, (claimant, inner): (&Claimant, &mut Inner), seat: &Seat, (now, token): (Instant, Token)) {
        (inner.since, inner.given_back) = (seat.since, None);
        self.show_of(claimant, inner, (now, What::Granted(token)));
    }

    fn claim_is_over(&self, state: &mut State, claimant: &Arc<Claimant>, (inner, after): (&Inner, &mut Aftermath)) {
        state.claimant = None;
        state.follows = matches!(inner.outcome, Some(Ok(_))) && inner.lost != Some(LostWhy::Expired);
        match &inner.outcome {
            Some(Err(Failed::Spent)) => state.spent += 1,
            Some(Err(why)) => self.dismiss(state, claimant, (why, after)),
            _ => {}
        }
        if state.machine.over() {
            let cohort = claimant.cohort.as_ref().expect("a claim that is shared has those who share it");
            after.next = self.start_claim(cohort, state, self.world.now());
            if after.next.is_some() {
                return;
            }
            self.dismiss(state, claimant, (&Failed::Trouble(shut_down()), after));
            state.machine.over();
        }
        self.rest(state);
    }

    /// Tells everybody in line that nothing will come.
    fn dismiss(&self, state: &mut State, claimant: &Claimant, (why, after): (&Failed<Error>, &mut Aftermath)) {
        while let Some(seat) = state.machine.dismiss() {
            self.tell_failed(claimant, seat, (why.clone(), after));
        }
    }

    fn tell_failed(&self, claimant: &Claimant, seat: Seat, (why, after): (Failed<Error>, &mut Aftermath)) {
        let waited = self.world.now().since(seat.since);
        // To observers a shutdown is no fault of the store.
        let shut = self.shut.load(Ordering::Relaxed);
        let seen = if shut { Failure::Cancelled } else { super::claimant::failure(&why, true) };
        self.show(claimant, (waited, None), What::Failed(seen));
        after.told.push((seat, Err(why)));
    }

    /// Nobody holds or waits: whoever comes next begins anew.
    fn rest(&self, state: &mut State) {
        (state.spent, state.follows) = (0, false);
        if let Some(planned) = state.timer.take() {
            self.timers.forget(planned);
        }
    }

    /// Tells those in line what a step left to tell, with no lock held.
    pub(super) fn finish(self: &Arc<Driver>, after: &mut Aftermath) {
        for (seat, verdict) in after.told.drain(..) {
            if let Err(Ok((claimant, token))) = seat.told.send(verdict) {
                // It left in the meantime, and nobody else knows of the grant.
                self.give_back(&claimant, token, false);
            }
        }
    }

    /// Those of this client that order the same.
    pub(super) fn cohort_of(&self, order: &Order) -> Arc<Cohort> {
        let mut cohorts = self.cohorts();
        cohorts.get(order).unwrap_or_else(|| {
            let cohort = Cohort::new(order.clone());
            cohorts.insert(order.clone(), &cohort);
            cohort
        })
    }

    /// The claim by which those in line will hold; it asks at its first step. `None` if the client was shut down.
    fn start_claim(&self, cohort: &Arc<Cohort>, state: &mut State, now: Instant) -> Option<Arc<Claimant>> {
        let order = &cohort.order;
        let start = Start {
            claim: self.fresh_claim(),
            want: order.want,
            policy: order.policy,
            timing: self.timing,
            wait: Wait::Until(Instant::FAR),
            full_ttl: order.full_ttl,
            spare: state.machine.spare_tokens(),
            pause: super::acquire::pause_after(state.spent),
            seed: self.world.random(),
        };
        state.claimant = self.enlist(order.resource.clone(), (start, now), Some(Arc::clone(cohort)));
        state.claimant.clone()
    }

    /// Ends the waits whose time is over.
    pub(super) fn end_waits(self: &Arc<Driver>, cohort: &Arc<Cohort>) {
        let mut after = Aftermath::default();
        let now = self.world.now();
        let mut state = cohort.lock();
        state.timer.take_if(|planned| planned.at <= now);
        if let Some(claimant) = state.claimant.clone() {
            let obstacle = state.obstacle(&claimant);
            while let Some(seat) = state.machine.give_up(now) {
                self.tell_failed(&claimant, seat, (obstacle.clone(), &mut after));
            }
        }
        self.plan_waits(cohort, &mut state);
        let claimant = state.claimant.clone();
        drop(state);
        if let Some(claimant) = claimant {
            self.drop_unwanted(&claimant, None);
        }
        self.finish(&mut after);
    }

    fn plan_waits(self: &Arc<Driver>, cohort: &Arc<Cohort>, state: &mut State) {
        let Some(at) = state.machine.next_give_up() else { return };
        if state.timer.is_none_or(|planned| planned.at > at) {
            if let Some(planned) = state.timer.take() {
                self.timers.forget(planned);
            }
            let due = Due::Waits(Arc::downgrade(cohort));
            state.timer = Some(self.timers.plan(at, due, |_| self.timers_changed.notify_one()));
        }
    }

    /// Ends every wait of every cohort: the client is shut down.
    pub(super) fn dismiss_all(self: &Arc<Driver>) {
        let cohorts = self.cohorts().living();
        for cohort in cohorts {
            let mut after = Aftermath::default();
            let mut state = cohort.lock();
            if let Some(claimant) = state.claimant.clone() {
                self.dismiss(&mut state, &claimant, (&Failed::Trouble(shut_down()), &mut after));
            }
            drop(state);
            self.finish(&mut after);
        }
    }
}
