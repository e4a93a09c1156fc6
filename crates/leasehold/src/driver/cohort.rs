//! The tasks of this client that want the same resource on the same terms: their line, and the one claim they share.
//!
//! A cohort's lock is taken before that of its claim, and held while the claim's machine moves, so that whose turn it is
//! changes together with what the machine says. It lives in the driver's map while anybody holds or waits.

use super::acquire::Order;
use super::claimant::{Claimant, Inner, OnLost};
use super::timers::Planned;
use super::{Driver, Due, shut_down};
use crate::engine::Route;
use crate::error::Error;
use crate::observer::{Failure, What};
use futures_util::future::{Either, select};
use leasehold_core::{
    Cohort as Machine, Contention, Failed, Input, Instant, Joined, Reply, ReqNo, Request, Start, Ticket, Token, Trouble, Turn,
    Wait,
};
use smallvec::SmallVec;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
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
    /// The claim that all of them share, while it may hold.
    claimant: Option<Arc<Claimant>>,
    /// How many claims in a row were granted too late.
    spent: u32,
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
    next: Next,
}

/// What becomes of a cohort whose claim is over.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Nothing,
    /// Those who wait want another claim.
    Claim,
    /// Nobody is left.
    Leave,
}

impl Cohort {
    pub(super) fn new(order: Order) -> Arc<Cohort> {
        let machine = Machine::new(order.policy.min_hold);
        Arc::new(Cohort { order, state: Mutex::new(State { machine, claimant: None, spent: 0, timer: None }) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aftermath {
    /// True if those who wait want another claim.
    pub(super) fn wants_claim(&self) -> bool {
        self.next == Next::Claim
    }
}

impl State {
    fn shares(&self, claimant: &Arc<Claimant>) -> bool {
        self.claimant.as_ref().is_some_and(|current| Arc::ptr_eq(current, claimant))
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
            self.show(claimant, now.since(seat.since), What::Granted(token));
            after.told.push((seat, Ok((Arc::clone(claimant), token))));
        }
        let (alone_at, short) = (inner.machine.alone_at(), inner.machine.is_short_of_tokens());
        let refresh = granted.is_some() && state.machine.prepare(now, alone_at, short) == Turn::Refresh;
        refresh.then_some(Input::Refresh)
    }

    fn claim_is_over(&self, state: &mut State, claimant: &Arc<Claimant>, (inner, after): (&Inner, &mut Aftermath)) {
        state.claimant = None;
        match &inner.outcome {
            Some(Err(Failed::Spent)) => state.spent += 1,
            Some(Err(why)) => self.dismiss(state, claimant, (why, after)),
            _ => {}
        }
        after.next = if state.machine.over() { Next::Claim } else { Next::Leave };
    }

    /// Tells everybody in line that nothing will come.
    fn dismiss(&self, state: &mut State, claimant: &Claimant, (why, after): (&Failed<Error>, &mut Aftermath)) {
        while let Some(seat) = state.machine.dismiss() {
            self.tell_failed(claimant, seat, (why.clone(), after));
        }
    }

    fn tell_failed(&self, claimant: &Claimant, seat: Seat, (why, after): (Failed<Error>, &mut Aftermath)) {
        self.show(claimant, self.world.now().since(seat.since), What::Failed(super::claimant::failure(&why)));
        after.told.push((seat, Err(why)));
    }

    /// Does what a step left to do, with no lock held.
    pub(super) fn finish(self: &Arc<Driver>, cohort: &Arc<Cohort>, after: &mut Aftermath) {
        for (seat, verdict) in after.told.drain(..) {
            if let Err(Ok((claimant, token))) = seat.told.send(verdict) {
                // It left in the meantime, and nobody else knows of the grant.
                self.give_back(&claimant, token, false);
            }
        }
        match after.next {
            Next::Nothing => {}
            Next::Claim => self.claim_for(cohort),
            Next::Leave => self.leave_map(cohort),
        }
    }

    /// Asks the store on behalf of those in line.
    fn claim_for(self: &Arc<Driver>, cohort: &Arc<Cohort>) {
        if let Some(claimant) = self.start_claim(cohort) {
            self.step(&claimant, Input::Tick);
        }
    }

    fn start_claim(self: &Arc<Driver>, cohort: &Arc<Cohort>) -> Option<Arc<Claimant>> {
        let mut state = cohort.lock();
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
        state.claimant = self.enlist(order.resource.clone(), start, Some(Arc::clone(cohort)));
        if let Some(claimant) = &state.claimant {
            return Some(Arc::clone(claimant));
        }
        // The client was shut down.
        let mut told: SmallVec<[Seat; 1]> = SmallVec::new();
        while let Some(seat) = state.machine.dismiss() {
            told.push(seat);
        }
        state.machine.over();
        drop(state);
        for seat in told {
            let _ = seat.told.send(Err(Failed::Trouble(shut_down())));
        }
        self.leave_map(cohort);
        None
    }

    fn leave_map(&self, cohort: &Arc<Cohort>) {
        let mut cohorts = self.cohorts();
        // Somebody may have joined since.
        if cohort.lock().machine.is_idle() {
            cohorts.remove(&cohort.order);
        }
    }

    /// Ends the waits whose time is over.
    pub(super) fn end_waits(self: &Arc<Driver>, cohort: &Arc<Cohort>) {
        let mut after = Aftermath::default();
        let now = self.world.now();
        let mut state = cohort.lock();
        state.timer.take_if(|planned| planned.at <= now);
        if let Some(claimant) = state.claimant.clone() {
            let obstacle = claimant.lock().machine.obstacle();
            let held = || Failed::Held(Contention { by: Some(claimant.claim), lease_left: None });
            while let Some(seat) = state.machine.give_up(now) {
                self.tell_failed(&claimant, seat, (obstacle.clone().unwrap_or_else(held), &mut after));
            }
        }
        self.plan_waits(cohort, &mut state);
        let unwanted = state.claimant.clone().filter(|_| state.machine.wanted() == Turn::GiveBack);
        drop(state);
        if let Some(claimant) = unwanted {
            self.step(&claimant, Input::Cancel);
        }
        self.finish(cohort, &mut after);
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
        let cohorts: Vec<_> = self.cohorts().values().cloned().collect();
        for cohort in cohorts {
            let mut after = Aftermath::default();
            let mut state = cohort.lock();
            if let Some(claimant) = state.claimant.clone() {
                self.dismiss(&mut state, &claimant, (&Failed::Trouble(shut_down()), &mut after));
            }
            drop(state);
            self.finish(&cohort, &mut after);
        }
    }

    /// Joins those who want the same.
    pub(super) fn join<'a>(self: &'a Arc<Driver>, order: &Order, give_up: Instant) -> Waiter<'a> {
        let now = self.world.now();
        let (told, verdict) = oneshot::channel();
        let mut cohorts = self.cohorts();
        let cohort = match cohorts.get(order) {
            Some(cohort) => Arc::clone(cohort),
            None => {
                let cohort = Cohort::new(order.clone());
                cohorts.insert(order.clone(), Arc::clone(&cohort));
                cohort
            }
        };
        let mut state = cohort.lock();
        drop(cohorts);
        let (ticket, joined) = state.machine.join(Seat { told, since: now }, give_up);
        self.plan_waits(&cohort, &mut state);
        let claimant = state.claimant.clone();
        drop(state);
        let mut request = None;
        match (joined, claimant) {
            (Joined::Ask, _) => {
                if let Some(claimant) = self.start_claim(&cohort) {
                    self.show(&claimant, Duration::ZERO, What::Attempt);
                    request = self.first_request(&claimant).map(|request| (claimant, request));
                }
            }
            (joined, Some(claimant)) => {
                self.show(&claimant, Duration::ZERO, What::Attempt);
                if joined == Joined::Prepare {
                    self.step(&claimant, Input::Refresh);
                }
            }
            (_, None) => {}
        }
        let asks = request.as_ref().map(|(claimant, request)| (Arc::clone(claimant), request.no));
        Waiter { driver: self, cohort, ticket, verdict, asks, request, waits: true }
    }

    /// Leaves the line; what the shared claim asked by way of the leaver's task is asked anew.
    fn leave(self: &Arc<Driver>, cohort: &Arc<Cohort>, ticket: Ticket, asks: Option<(Arc<Claimant>, ReqNo)>) {
        let mut state = cohort.lock();
        let left = state.machine.leave(ticket);
        let claimant = state.claimant.clone();
        if let (Some(seat), Some(claimant)) = (&left, &claimant) {
            self.show(claimant, self.world.now().since(seat.since), What::Failed(Failure::Cancelled));
        }
        let unwanted = claimant.filter(|_| state.machine.wanted() == Turn::GiveBack);
        drop(state);
        match (unwanted, asks) {
            (Some(claimant), Some((asked, no))) if Arc::ptr_eq(&claimant, &asked) => self.step(&claimant, Input::Abandon(no)),
            (unwanted, asks) => {
                if let Some((asked, no)) = asks {
                    self.step(&asked, Input::Reply(no, Reply::Claim(Err(Error::unanswered()))));
                    self.step(&asked, Input::AskAgain);
                }
                if let Some(claimant) = unwanted {
                    self.step(&claimant, Input::Cancel);
                }
            }
        }
    }
}

/// A task in line, which leaves it when it is dropped.
pub(super) struct Waiter<'a> {
    driver: &'a Arc<Driver>,
    cohort: Arc<Cohort>,
    ticket: Ticket,
    verdict: oneshot::Receiver<Verdict>,
    /// The ask of the shared claim that travels with this task, until it is answered.
    asks: Option<(Arc<Claimant>, ReqNo)>,
    request: Option<(Arc<Claimant>, Request)>,
    waits: bool,
}

impl Waiter<'_> {
    /// Waits for the verdict, and carries the ask that travels with this task, if there is one.
    pub(super) async fn outcome(mut self) -> Verdict {
        let driver = self.driver;
        if let Some((claimant, request)) = self.request.take() {
            let answer = pin!(driver.send(&claimant, request, Route::Caller));
            match select(answer, &mut self.verdict).await {
                Either::Left((reply, _)) => {
                    self.asks = None;
                    driver.step(&claimant, Input::Reply(request.no, reply));
                }
                Either::Right((verdict, _)) => return self.heard(verdict),
            }
        }
        let verdict = (&mut self.verdict).await;
        self.heard(verdict)
    }

    fn heard(&mut self, verdict: Result<Verdict, oneshot::error::RecvError>) -> Verdict {
        self.waits = false;
        verdict.unwrap_or_else(|_| Err(Failed::Trouble(shut_down())))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if !self.waits && self.asks.is_none() {
            return;
        }
        self.verdict.close();
        match self.verdict.try_recv() {
            Ok(Ok((claimant, token))) => self.driver.give_back(&claimant, token, false),
            _ => self.driver.leave(&self.cohort, self.ticket, self.asks.take()),
        }
    }
}
