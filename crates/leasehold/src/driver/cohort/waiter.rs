//! A task in line for a claim that its client shares: how it joins, what it carries, how it leaves.

use super::{Cohort, Seat, Verdict};
use crate::driver::{Cause, Claimant, Driver, StandingOrder, shut_down};
use crate::engine::Route;
use crate::error::Error;
use crate::observer::{Failure, What};
use futures_util::future::{Either, FutureExt, select};
use leasehold_core::{Failed, Input, Instant, Joined, Reply, ReqNo, Request, Ticket, Trouble};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

impl Driver {
    /// Joins those who want the same.
    pub(in crate::driver) fn join<'a>(self: &'a Arc<Driver>, order: &'a StandingOrder, give_up: Instant) -> Waiter<'a> {
        let now = self.world.now();
        let (told, verdict) = oneshot::channel();
        let cohort = order.cohort(self);
        let mut state = cohort.lock();
        let (ticket, joined) = state.machine.join(Seat { told, since: now }, give_up);
        let claimant = match joined {
            Joined::Ask => self.start_claim(cohort, &mut state, now),
            Joined::Wait | Joined::Prepare => state.claimant.clone(),
        };
        let mut request = None;
        if let Some(claimant) = claimant {
            self.plan_waits(cohort, &mut state);
            // Before anybody can be told what became of it.
            self.show(&claimant, (Duration::ZERO, None), What::Attempt);
            let prepare = joined == Joined::Prepare && state.is_to_be_refreshed(&claimant.lock(), now);
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
            let waited = self.world.now().since(seat.since);
            self.show(claimant, (waited, None), What::Failed(Failure::Cancelled));
        }
        drop(state);
        // What is released from here on goes out behind the ask, which is gone.
        let late = asks.as_ref().filter(|(claimant, no)| claimant.lock().is_released_before(*no));
        late.into_iter().for_each(|(claimant, _)| self.release_again(claimant));
        if let Some(claimant) = claimant {
            let asked = asks.as_ref().filter(|(asked, _)| Arc::ptr_eq(asked, &claimant));
            self.drop_unwanted(&claimant, asked.map(|(_, no)| *no));
        }
        if let Some(asked) = asks {
            self.ask_anew(asked);
        }
    }

    /// Withdraws the claim if nobody waits for it any more; the ask with this number goes with who left last.
    pub(super) fn drop_unwanted(self: &Arc<Driver>, claimant: &Arc<Claimant>, ask: Option<ReqNo>) {
        let mut moved = self.advance(claimant, Cause::Left(ask));
        self.dispatch_all(claimant, &mut moved);
    }

    /// What travelled with a task that is gone goes by the driver; nothing happens if the machine does not wait for its answer.
    fn ask_anew(self: &Arc<Driver>, (claimant, no): (Arc<Claimant>, ReqNo)) {
        self.step(&claimant, Input::Reply(no, Reply::Claim(Err(Error::unanswered()))));
        self.step(&claimant, Input::AskAgain);
    }

    /// The first ask of a claim for those in line, by way of whoever made it necessary.
    pub(in crate::driver) async fn ask_for_line(self: &Arc<Driver>, claimant: Arc<Claimant>) {
        let Some(request) = self.first_request(&claimant) else { return };
        let mut carried = Carried { driver: self, asks: Some((Arc::clone(&claimant), request.no)) };
        let reply = self.send(&claimant, request, Route::Caller).await;
        carried.asks = None;
        self.ask_ended(&claimant, request.no, Some(reply));
    }
}

/// An ask that travels with a task that waits for something else.
struct Carried<'a> {
    driver: &'a Arc<Driver>,
    asks: Option<(Arc<Claimant>, ReqNo)>,
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        if let Some((claimant, no)) = self.asks.take() {
            self.driver.ask_ended(&claimant, no, None);
            self.driver.ask_anew((claimant, no));
        }
    }
}

/// A task in line, which leaves it when it is dropped.
pub(in crate::driver) struct Waiter<'a> {
    driver: &'a Arc<Driver>,
    cohort: &'a Arc<Cohort>,
    ticket: Ticket,
    verdict: oneshot::Receiver<Verdict>,
    /// The ask of the shared claim that travels with this task, until it is answered.
    asks: Option<(Arc<Claimant>, ReqNo)>,
    request: Option<(Arc<Claimant>, Request)>,
    waits: bool,
}

impl Waiter<'_> {
    /// Waits for the verdict, and carries the ask that travels with this task, if there is one.
    pub(in crate::driver) async fn outcome(mut self) -> Verdict {
        let driver = self.driver;
        if let Some((claimant, request)) = self.request.take() {
            let answer = pin!(driver.send(&claimant, request, Route::Caller));
            match select(answer, &mut self.verdict).await {
                Either::Left((reply, _)) => {
                    self.asks = None;
                    // Nobody is to be woken by what the reply brings: it is this very task that would be.
                    let heard = (&mut self.verdict).now_or_never();
                    driver.ask_ended(&claimant, request.no, Some(reply));
                    if let Some(verdict) = heard {
                        return self.heard(verdict);
                    }
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
            _ => self.driver.leave(self.cohort, self.ticket, self.asks.take()),
        }
    }
}
