//! The tasks of this client that want the same resource on the same terms: their line, and the one claim they share.
//!
//! A cohort's lock is taken before that of its claim, and held while the claim's machine moves, so that whose turn it is
//! changes together with what the machine says. It lives in the driver's map while anybody holds or waits.

use super::acquire::Order;
use super::claimant::{Claimant, Inner, OnLost};
use super::timers::Planned;
use super::{Cause, Driver, Due, shut_down};
use crate::engine::Route;
use crate::error::Error;
use crate::observer::{Failure, What};
use futures_util::future::{Either, select};
use leasehold_core::{
    Cohort as Machine, Contention, Failed, Input, Instant, Joined, LostWhy, Reply, ReqNo, Request, Start, Ticket, Token, Trouble,
    Turn, Wait,
};
use smallvec::SmallVec;
use std::collections::hash_map::Entry;
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
    next: Next,
}

/// What becomes of a cohort whose claim is over.
#[derive(Default)]
enum Next {
    #[default]
    Nothing,
    /// Those who wait share another claim, which asks next.
    Claim(Arc<Claimant>),
    /// Nobody is left.
    Leave,
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

impl Aftermath {
    /// True if another claim asks next.
    pub(super) fn claims_next(&self) -> bool {
        matches!(self.next, Next::Claim(_))
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
    fn is_to_be_prepared(&self, claimant: &Claimant, now: Instant) -> bool {
        let inner = claimant.lock();
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
            self.show(claimant, now.since(seat.since), What::Granted(token));
            after.told.push((seat, Ok((Arc::clone(claimant), token))));
        }
        let left = granted.and_then(|_| state.machine.hand_offs_left());
        let refresh = left.is_some_and(|left| inner.machine.needs_refresh(now, left));
        refresh.then_some(Input::Refresh)
    }

    fn claim_is_over(&self, state: &mut State, claimant: &Arc<Claimant>, (inner, after): (&Inner, &mut Aftermath)) {
        state.claimant = None;
        state.follows = matches!(inner.outcome, Some(Ok(_))) && inner.lost != Some(LostWhy::Expired);
        match &inner.outcome {
            Some(Err(Failed::Spent)) => state.spent += 1,
            Some(Err(why)) => self.dismiss(state, claimant, (why, after)),
            _ => {}
        }
        after.next = Next::Leave;
        if state.machine.over() {
            let cohort = claimant.cohort.as_ref().expect("a claim that is shared has those who share it");
            match self.start_claim(cohort, state) {
                Some(claimant) => after.next = Next::Claim(claimant),
                None => {
                    self.dismiss(state, claimant, (&Failed::Trouble(shut_down()), after));
                    state.machine.over();
                }
            }
        }
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
        match std::mem::take(&mut after.next) {
            Next::Nothing => {}
            Next::Claim(claimant) => self.step(&claimant, Input::Tick),
            Next::Leave => self.leave_map(cohort),
        }
    }

    /// The claim by which those in line will hold; it asks at its first step. `None` if the client was shut down.
    fn start_claim(&self, cohort: &Arc<Cohort>, state: &mut State) -> Option<Arc<Claimant>> {
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
        state.claimant.clone()
    }

    fn leave_map(&self, cohort: &Arc<Cohort>) {
        let mut cohorts = self.cohorts();
        let Entry::Occupied(place) = cohorts.entry(cohort.order.clone()) else { return };
        let mut state = cohort.lock();
        // Somebody may have joined since; or it left before, and others have its place.
        if Arc::ptr_eq(place.get(), cohort) && state.machine.is_idle() {
            place.remove();
            if let Some(planned) = state.timer.take() {
                self.timers.forget(planned);
            }
        }
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
        let cohort = Arc::clone(cohorts.entry(order.clone()).or_insert_with(|| Cohort::new(order.clone())));
        let mut state = cohort.lock();
        drop(cohorts);
        let (ticket, joined) = state.machine.join(Seat { told, since: now }, give_up);
        let claimant = match joined {
            Joined::Ask => self.start_claim(&cohort, &mut state),
            Joined::Wait | Joined::Prepare => state.claimant.clone(),
        };
        let mut request = None;
        if let Some(claimant) = claimant {
            self.plan_waits(&cohort, &mut state);
            // Before anybody can be told what became of it.
            self.show(&claimant, Duration::ZERO, What::Attempt);
            let prepare = joined == Joined::Prepare && state.is_to_be_prepared(&claimant, now);
            drop(state);
            if joined == Joined::Ask {
                request = self.first_request(&claimant).map(|request| (claimant, request));
            } else if prepare {
                self.step(&claimant, Input::Refresh);
            }
        } else {
            // The client was shut down: nobody answers, which says so.
            let alone = state.machine.dismiss();
            state.machine.over();
            drop((state, alone));
            self.leave_map(&cohort);
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
        drop(state);
        if let Some(claimant) = claimant {
            let asked = asks.as_ref().filter(|(asked, _)| Arc::ptr_eq(asked, &claimant));
            self.drop_unwanted(&claimant, asked.map(|(_, no)| *no));
        }
        if let Some(asked) = asks {
            self.ask_anew(asked);
        }
    }

    /// Withdraws the claim if nobody waits for it any more; the ask with this number goes with who left last.
    fn drop_unwanted(self: &Arc<Driver>, claimant: &Arc<Claimant>, ask: Option<ReqNo>) {
        let mut moved = self.advance(claimant, Cause::Left(ask));
        self.dispatch_all(claimant, &mut moved);
    }

    /// What travelled with a task that is gone goes by the driver; nothing happens if the machine does not wait for its answer.
    fn ask_anew(self: &Arc<Driver>, (claimant, no): (Arc<Claimant>, ReqNo)) {
        self.step(&claimant, Input::Reply(no, Reply::Claim(Err(Error::unanswered()))));
        self.step(&claimant, Input::AskAgain);
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
            Ok(Ok((claimant, token))) => {
                self.driver.give_back(&claimant, token, false);
                self.asks.take().into_iter().for_each(|asked| self.driver.ask_anew(asked));
            }
            _ => self.driver.leave(&self.cohort, self.ticket, self.asks.take()),
        }
    }
}
