//! The driver: moves every claim's machine between the clock, the engine and whoever waits.
//!
//! A claim's machine is moved by whichever thread has something for it, under the claim's own lock: the caller with its first
//! ask, the driver's thread with replies, notices and timers, the watch with a deadline. Requests that come out are sent from
//! the driver's thread, but for the first ask and most releases, which travel on the caller's runtime.

mod acquire;
mod audience;
mod callbacks;
mod claimant;
mod cohort;
mod timers;
mod watch;

pub(crate) use acquire::{Order, Patience, StandingOrder};
pub(crate) use audience::Audience;
use audience::Verdict;
use claimant::public_answer;
pub(crate) use claimant::{Claimant, plain_answer};
use cohort::{Aftermath, Cohort};

use crate::engine::{ClaimCall, Engine, Notice, ReleaseCall, RenewCall, Route};
use crate::error::Error;
use crate::guard::Released;
use crate::observer::{Failure, Observed, What};
use crate::weak_map::WeakMap;
use crate::world::World;
pub(crate) use claimant::Inner;
use leasehold_core::{
    ClaimId, ClaimReply, Event, Input, Instant, Manner, Reply, ReqNo, Request, ResourceName, Start, Timing, Token, Turn, Verb,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use timers::Timers;
use tokio::runtime::Id;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Moves every claim of one client.
pub(crate) struct Driver {
    engine: Arc<dyn Engine>,
    world: World,
    client: u64,
    timing: Timing,
    audience: Audience,
    /// The runtime that connected; calls by the caller's route are only polled there.
    home: Option<Id>,
    live: Mutex<FxHashMap<ClaimId, Arc<Claimant>>>,
    /// Set and read under the lock of `live`, so that no claim slips in behind the last look.
    shut: AtomicBool,
    /// Those who share a claim, while any of them has a handle, holds or waits.
    cohorts: Mutex<WeakMap<Order, Cohort>>,
    timers: Timers<Due>,
    timers_changed: Notify,
    /// How many claims are ending and not answered yet.
    ending: AtomicUsize,
    idle: Notify,
}

/// Whom a timer is for.
enum Due {
    Claim(Weak<Claimant>),
    /// Some waits of a cohort end.
    Waits(Weak<Cohort>),
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) world: World,
    pub(crate) client: u64,
    pub(crate) timing: Timing,
    pub(crate) audience: Audience,
}

impl Driver {
    /// Starts to move claims; ends with the world's thread.
    pub(crate) fn start(parts: Parts) -> Arc<Driver> {
        watch::start();
        let driver = Arc::new(Driver {
            engine: parts.engine,
            world: parts.world,
            client: parts.client,
            timing: parts.timing,
            audience: parts.audience,
            home: World::current_runtime(),
            live: Mutex::default(),
            cohorts: Mutex::default(),
            shut: AtomicBool::new(false),
            timers: Timers::new(),
            timers_changed: Notify::new(),
            ending: AtomicUsize::new(0),
            idle: Notify::new(),
        });
        driver.world.spawn(Arc::clone(&driver).run_timers());
        driver.hear_notices();
        driver
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    pub(crate) fn timing(&self) -> Timing {
        self.timing
    }

    /// True if the calling task may poll calls by the caller's route.
    fn at_home(&self) -> bool {
        self.home.is_some() && World::current_runtime() == self.home
    }

    /// Moves a claim by one input, and sends what comes out from the driver's thread.
    pub(crate) fn step(self: &Arc<Driver>, claimant: &Arc<Claimant>, input: Input<Error>) {
        let mut moved = self.advance(claimant, Cause::Input(input));
        self.dispatch_all(claimant, &mut moved);
    }

    /// Ends the hold of whoever has this token: passed on to the next of its cohort, or given back to the store. `used` unless
    /// it never knew that it held.
    pub(crate) fn give_back(self: &Arc<Driver>, claimant: &Arc<Claimant>, token: Token, used: bool) {
        let mut moved = self.advance(claimant, Cause::GivenBack { token, used });
        self.dispatch_all(claimant, &mut moved);
    }

    /// Moves a claim by one input, and its cohort with it; returns what is to be sent.
    fn advance(self: &Arc<Driver>, claimant: &Arc<Claimant>, cause: Cause) -> Moved {
        let mut after = Aftermath::default();
        let mut state = claimant.cohort.as_ref().map(|cohort| cohort.lock());
        let mut inner = claimant.lock();
        // Read under the lock, so that the machine's time never goes back.
        let now = self.world.now();
        let lost_before = inner.lost.is_some();
        let renewed = matches!(cause, Cause::Input(Input::Reply(_, Reply::Renew(_))));
        let asks_by_caller = matches!(cause, Cause::FirstAsk);
        inner.asks_against_caller += u32::from(matches!(cause, Cause::Input(Input::Reply(_, Reply::Claim(Err(_))))));
        let mut next = match cause {
            Cause::Input(input) => Some(input),
            Cause::FirstAsk => Some(Input::Tick),
            Cause::Left(ask) => {
                let unwanted = state.as_deref().is_some_and(|state| state.is_rid_of(claimant));
                unwanted.then(|| ask.map_or(Input::Cancel, Input::Abandon))
            }
            Cause::GivenBack { token, used } => {
                self.turn(claimant, &mut inner, (now, &mut after), (Input::Tick, state.as_deref_mut()));
                self.give_back_as(claimant, (&mut inner, state.as_deref_mut()), (now, &mut after), (token, used))
            }
        };
        while let Some(input) = next {
            next = self.turn(claimant, &mut inner, (now, &mut after), (input, state.as_deref_mut()));
        }
        if inner.near_max_hold.take_if(|at| *at <= now).is_some() {
            self.show_of(claimant, &mut inner, (now, What::NearMaxHold));
        }
        if !asks_by_caller {
            after.requests.iter().for_each(|request| inner.count_ask(request.verb));
        }
        claimant.publish(&mut inner);
        self.plan(claimant, &mut inner, (now, renewed));
        self.count_ending(claimant, &mut inner);
        after.cancelled = inner.cancellation.clone().filter(|_| inner.lost.is_some() && !lost_before);
        // They may own guards, even of this claim.
        if inner.done {
            after.unheard.append(&mut inner.on_lost);
        }
        drop(inner);
        drop(state);
        // Without the locks: a waker is others' code.
        after.unheard.clear();
        after.cancelled.iter().for_each(CancellationToken::cancel);
        claimant.wake_all();
        self.finish(&mut after);
        let follows = after.next.take();
        Moved { requests: std::mem::take(&mut after.requests), passed_on: after.passed_on, follows }
    }

    /// One move of a claim's machine; returns the input that follows from it.
    fn turn(
        self: &Arc<Driver>,
        claimant: &Arc<Claimant>,
        inner: &mut Inner,
        (now, after): (Instant, &mut Aftermath),
        (input, state): (Input<Error>, Option<&mut cohort::State>),
    ) -> Option<Input<Error>> {
        if matches!(input, Input::Cancel | Input::Abandon(_)) && inner.cancel() && claimant.cohort.is_none() {
            self.show_of(claimant, inner, (now, What::Failed(Failure::Cancelled)));
        }
        inner.machine.handle(now, input);
        if let Some(request) = inner.machine.poll_request(now) {
            after.requests.push(request);
        }
        while let Some(event) = inner.machine.poll_event() {
            self.tell(claimant, inner, event, now);
        }
        if inner.machine.is_ending() {
            inner.hold_is_over(now);
        }
        self.follow((state?, claimant), inner, (now, after))
    }

    /// What a hold that is given back by whoever has this token comes to.
    fn give_back_as(
        &self,
        claimant: &Arc<Claimant>,
        (inner, state): (&mut Inner, Option<&mut cohort::State>),
        (now, after): (Instant, &mut Aftermath),
        (token, used): (Token, bool),
    ) -> Option<Input<Error>> {
        let Some(state) = state else { return Some(if used { Input::Release } else { Input::Cancel }) };
        if inner.machine.token().is_some_and(|held| held != token) {
            // It was passed on before.
            return None;
        }
        match state.freed(claimant, inner, (now, used)) {
            Turn::HandOn => {
                self.show(claimant, (now.since(inner.since), None), What::Released(Ok(Released::Released)));
                after.unheard.append(&mut inner.change_hands());
                after.passed_on = true;
                Some(Input::HandOn)
            }
            Turn::GiveBack => Some(if used { Input::Release } else { Input::Cancel }),
            Turn::Stay => None,
        }
    }

    fn tell(self: &Arc<Driver>, claimant: &Arc<Claimant>, inner: &mut Inner, event: Event<Error>, now: Instant) {
        let Some(what) = inner.absorb(event) else { return };
        if let What::Lost(why) = what {
            self.tell_loss(inner, why);
        }
        // Of a shared claim, each attempt is shown by itself.
        if claimant.cohort.is_none() || !matches!(what, What::Granted(_) | What::Failed(_)) {
            self.show_of(claimant, inner, (now, what));
        }
    }

    fn tell_loss(&self, inner: &mut Inner, why: leasehold_core::LostWhy) {
        for on_lost in inner.on_lost.drain(..) {
            callbacks::run_later(Box::new(move || on_lost(why)));
        }
    }

    /// Runs `then` if the claim's hold is lost, at once if it is already.
    pub(crate) fn on_lost(&self, claimant: &Claimant, then: claimant::OnLost) {
        let mut inner = claimant.lock();
        match inner.lost {
            Some(why) => callbacks::run_later(Box::new(move || then(why))),
            None if inner.done => {}
            None => inner.on_lost.push(then),
        }
    }

    /// Shows what happened to a claim, unless it ended in the observers' eyes before.
    fn show_of(&self, claimant: &Claimant, inner: &mut Inner, (now, what): (Instant, What)) {
        let what = match (inner.shown.note(&what), what) {
            (Verdict::Hide, _) => return,
            (Verdict::LetGo, What::Released(answer)) => What::LetGo(answer),
            (_, what) => what,
        };
        let held_until = inner.given_back.unwrap_or(now);
        let took = matches!(what, What::Released(_)).then(|| now.since(held_until));
        let after = held_until.since(inner.since);
        match what {
            What::Granted(_) => inner.count_hold(now, claimant.max_hold),
            What::Detached | What::Lost(_) => inner.hold_is_over(now),
            _ => {}
        }
        self.show(claimant, (after, took), what);
    }

    fn show(&self, claimant: &Claimant, (after, took): (Duration, Option<Duration>), what: What) {
        if !self.audience.is_empty() {
            self.audience.show(Observed { resource: claimant.resource.clone(), claim: claimant.claim, after, took, what });
        }
    }

    /// Plans the next look: by the driver for what the machine wants, by the watch for the deadline.
    fn plan(self: &Arc<Driver>, claimant: &Arc<Claimant>, inner: &mut Inner, (now, renewed): (Instant, bool)) {
        // A look planned too early costs one tick; moving it at every step would cost a short hold more. An answered renewal moves
        // it: the look was for the answer that might not come, and the next renewal is long after.
        inner.timer.take_if(|planned| planned.at <= now);
        if let Some(wake) = inner.machine.poll_wake().into_iter().chain(inner.near_max_hold).min()
            && inner.timer.is_none_or(|planned| planned.at > wake || renewed)
        {
            if let Some(planned) = inner.timer.take() {
                self.timers.forget(planned);
            }
            let due = Due::Claim(Arc::downgrade(claimant));
            inner.timer = Some(self.timers.plan(wake, due, |_| self.timers_changed.notify_one()));
        }
        inner.watch.take_if(|planned| planned.at <= now);
        // Moved with each renewal, not when it comes due: then the watch would wake up for nothing, which costs ten times as much.
        if let Some(deadline) = claimant.deadline()
            && inner.watch.is_none_or(|planned| planned.at < deadline)
        {
            if let Some(planned) = inner.watch.take() {
                watch::forget(planned);
            }
            inner.watch = Some(watch::plan(deadline, self, claimant));
        }
    }

    fn count_ending(&self, claimant: &Claimant, inner: &mut Inner) {
        if inner.machine.is_ending() && !inner.ending {
            inner.ending = true;
            self.ending.fetch_add(1, Ordering::Relaxed);
        }
        if !inner.done {
            return;
        }
        if let Some(planned) = inner.timer.take() {
            self.timers.forget(planned);
        }
        if let Some(planned) = inner.watch.take() {
            watch::forget(planned);
        }
        if self.live().remove(&claimant.claim).is_some() {
            if inner.ending {
                self.ending.fetch_sub(1, Ordering::Relaxed);
            }
            self.idle.notify_waiters();
        }
    }

    fn live(&self) -> MutexGuard<'_, FxHashMap<ClaimId, Arc<Claimant>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cohorts(&self) -> MutexGuard<'_, WeakMap<Order, Cohort>> {
        self.cohorts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch_all(self: &Arc<Driver>, claimant: &Arc<Claimant>, moved: &mut Moved) {
        for request in moved.requests.drain(..) {
            self.dispatch(claimant, request);
        }
        if let Some(next) = moved.follows.take() {
            self.step(&next, Input::Tick);
        }
    }

    fn dispatch(self: &Arc<Driver>, claimant: &Arc<Claimant>, request: Request) {
        let driver = Arc::clone(self);
        let claimant = Arc::clone(claimant);
        self.world.spawn(async move {
            let reply = driver.send(&claimant, request, Route::Driver).await;
            if matches!(reply, Reply::Claim(Ok(ClaimReply::Queued(_) | ClaimReply::Busy(_)))) {
                claimant.lock().asks_against_caller -= 1;
            }
            driver.step(&claimant, Input::Reply(request.no, reply));
        });
    }

    async fn send(&self, claimant: &Claimant, request: Request, route: Route) -> Reply<Error> {
        let resource = claimant.resource.clone();
        let (claim, want, terms, io_deadline) = (claimant.claim, claimant.want, claimant.terms, request.io_deadline);
        let about = |error: Error| error.about(&claimant.resource);
        match request.verb {
            Verb::Claim(ask) => {
                let call = ClaimCall { resource, claim, want, terms, ask, route, io_deadline };
                Reply::Claim(self.engine.claim(call).await.map_err(about))
            }
            Verb::Renew { detached, tokens } => {
                let call = RenewCall { resource, claim, want, terms, detached, tokens, io_deadline };
                Reply::Renew(self.engine.renew(call).await.map_err(about))
            }
            Verb::Release { keep } => {
                let call = ReleaseCall { resource, claim, manner: Manner::Own { keep }, route, io_deadline };
                Reply::Release(self.engine.release(call).await.map_err(about))
            }
        }
    }

    async fn run_timers(self: Arc<Driver>) {
        loop {
            while let Some(due) = self.timers.pop_due(self.world.now()) {
                match due {
                    Due::Claim(claimant) => {
                        if let Some(claimant) = claimant.upgrade() {
                            self.step(&claimant, Input::Tick);
                        }
                    }
                    Due::Waits(cohort) => {
                        if let Some(cohort) = cohort.upgrade() {
                            self.end_waits(&cohort);
                        }
                    }
                }
            }
            let mut next = Instant::FAR;
            self.timers.arm(|at| next = at);
            let slept = std::pin::pin!(self.world.sleep_until(next));
            let changed = std::pin::pin!(self.timers_changed.notified());
            futures_util::future::select(slept, changed).await;
        }
    }

    fn hear_notices(self: &Arc<Driver>) {
        let driver = Arc::downgrade(self);
        self.engine.listen(Arc::new(move |notice| {
            if let Some(driver) = driver.upgrade() {
                driver.notice(notice);
            }
        }));
    }

    fn notice(self: &Arc<Driver>, notice: Notice) {
        match notice {
            Notice::AskAgain(resource) => self.step_all(|claimant| claimant.resource == resource, &Input::AskAgain),
            Notice::Granted(grant) => self.step_one(grant.claim, Input::Granted(grant)),
            Notice::LinkDown => {}
            Notice::LinkUp => self.step_all(|_| true, &Input::LinkUp),
            Notice::Revoked(claim) => self.step_one(claim, Input::Revoked),
        }
    }

    fn step_one(self: &Arc<Driver>, claim: ClaimId, input: Input<Error>) {
        let claimant = self.live().get(&claim).cloned();
        if let Some(claimant) = claimant {
            self.step(&claimant, input);
        }
    }

    fn step_all(self: &Arc<Driver>, wanted: impl Fn(&Claimant) -> bool, input: &Input<Error>) {
        // Taken out first: a claim's lock is never taken under this one.
        let claimants: Vec<_> = self.live().values().cloned().collect();
        for claimant in claimants.iter().filter(|claimant| wanted(claimant)) {
            self.step(claimant, input.clone());
        }
    }

    /// Registers a new claim; nothing is sent yet. `None` once the client was shut down.
    fn enlist(
        &self,
        resource: ResourceName,
        (start, now): (Start, Instant),
        cohort: Option<Arc<Cohort>>,
    ) -> Option<Arc<Claimant>> {
        let alone = cohort.is_none();
        let claim = start.claim;
        let claimant = Arc::new(Claimant::new(resource, (start, now), cohort));
        let mut live = self.live();
        if self.shut.load(Ordering::Relaxed) {
            return None;
        }
        live.insert(claim, Arc::clone(&claimant));
        drop(live);
        if alone {
            self.show(&claimant, (Duration::ZERO, None), What::Attempt);
        }
        Some(claimant)
    }

    fn fresh_claim(&self) -> ClaimId {
        ClaimId::new(self.client, self.world.random())
    }

    /// Runs a call that belongs to no claim of ours on the driver's thread, within `limit`.
    pub(crate) async fn call<T, F>(&self, limit: Duration, call: impl FnOnce(Instant) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let io_deadline = self.world.now() + limit;
        let answer = call(io_deadline);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let world = self.world.clone();
        self.world.spawn(async move {
            let unanswered = || Err(<Error as leasehold_core::Trouble>::unanswered());
            let answer = world.until(io_deadline, answer).await.unwrap_or_else(unanswered);
            // Nobody may be waiting any more.
            let _ = sender.send(answer);
        });
        receiver.await.unwrap_or_else(|_| Err(shut_down()))
    }

    /// Ends every claim, whoever still wants it, lets no other in, and waits until the store has answered.
    pub(crate) async fn end_all(self: &Arc<Driver>) {
        let live = self.live();
        self.shut.store(true, Ordering::Relaxed);
        drop(live);
        self.dismiss_all();
        // Waiters first, or the release of one claim would be the grant of another.
        self.step_all(|claimant| claimant.lock().outcome.is_none(), &Input::Cancel);
        self.step_all(|_| true, &Input::Release);
        self.wait_idle().await;
    }

    /// Waits until no release is under way.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.ending.load(Ordering::Relaxed) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// The error of whoever wants something of a client that was shut down.
fn shut_down() -> Error {
    Error::unavailable("the client was shut down")
}

/// Why a claim moves.
enum Cause {
    Input(Input<Error>),
    /// It asks for the first time, and by the caller's way.
    FirstAsk,
    /// Somebody left the line, and with it the ask of this number; the claim is withdrawn if nobody is left.
    Left(Option<ReqNo>),
    /// Whoever has this token gives the hold back; `used` unless it never knew that it held.
    GivenBack {
        token: Token,
        used: bool,
    },
}

/// What came of a claim's move.
struct Moved {
    /// To be sent now.
    requests: SmallVec<[Request; 2]>,
    /// True if its hold is another's of the same cohort now.
    passed_on: bool,
    /// The claim that its cohort shares from here on: it asks behind the requests.
    follows: Option<Arc<Claimant>>,
}
