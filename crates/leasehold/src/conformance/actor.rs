//! The clients that act in the suites, and the attempts that they make.

use super::Store;
use crate::engine::{
    About, Answer, Capabilities, ClaimCall, Engine, Inspection, Notice, Party, PartyState, ReleaseCall, RenewCall, Route,
};
use crate::error::Error;
use crate::world::World;
use leasehold_core::{
    Ask, Bound, ClaimId, ClaimReply, Contention, Grant, Instant, Manner, ReleaseReply, RenewReply, Renewed, ReqNo, ResourceName,
    Terms, Token, Want,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How often a suite looks again.
pub(super) const GLANCE: Duration = Duration::from_millis(20);

/// The ttl of [`brief`].
pub(super) const BRIEF: Duration = Duration::from_millis(600);

/// Terms under which nothing ends while a suite runs, on however slow a machine.
pub(super) fn lasting() -> Terms {
    let second = Duration::from_secs(1);
    Terms { ttl: second * 90, lock_delay: Duration::ZERO, place_life: second * 60, place_margin: second }
}

/// Terms under which a lease and a place end soon.
pub(super) fn brief() -> Terms {
    Terms { ttl: BRIEF, lock_delay: Duration::ZERO, place_life: BRIEF / 4 * 3, place_margin: BRIEF / 4 }
}

/// One client of the store under test.
pub(super) struct Actor {
    pub(super) client: u64,
    pub(super) engine: Arc<dyn Engine>,
    pace: Pace,
    inbox: UnboundedReceiver<Notice>,
    /// Notices that came while another was waited for.
    heard: Vec<Notice>,
}

impl Actor {
    /// A fresh client.
    pub(super) async fn join(store: &dyn Store) -> Actor {
        let pace = Pace { world: store.world().clone(), patience: store.patience() };
        let client = pace.world.random();
        let engine = store.connect(client, about(client)).await;
        let inbox = notices_of(&*engine);
        Actor { client, engine, pace, inbox, heard: Vec::new() }
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.engine.capabilities()
    }

    /// A fresh attempt at all of `resource`, under [`lasting`] terms unless changed.
    pub(super) fn attempt(&self, resource: &ResourceName) -> Attempt {
        Attempt {
            engine: self.engine.clone(),
            pace: self.pace.clone(),
            resource: resource.clone(),
            claim: ClaimId::new(self.client, self.pace.world.random()),
            want: Want::ALL_OF_ONE,
            terms: lasting(),
            asked: 0,
        }
    }

    pub(super) async fn inspect(&self, resource: &ResourceName) -> Inspection {
        let answer = self.engine.inspect(resource.clone(), self.pace.io_deadline());
        expect(self.pace.within(answer).await)
    }

    pub(super) async fn list(&self) -> Vec<Inspection> {
        let answer = self.engine.list(self.pace.io_deadline());
        expect(self.pace.within(answer).await)
    }

    /// Waits until a hand-off to `attempt` is told: by a push if the engine pushes, else by asking again.
    pub(super) async fn handed(&mut self, attempt: &mut Attempt) -> Grant {
        if !self.capabilities().push {
            return attempt.until_granted().await;
        }
        let grant = self.hear_grant(attempt.claim).await;
        assert_eq!(grant.bound, Bound::FromAsk(attempt.last_ask()), "a pushed grant names the last ask that reached the place");
        grant
    }

    /// Waits for the push of a grant.
    pub(super) async fn hear_grant(&mut self, claim: ClaimId) -> Grant {
        let pick = |notice: &Notice| match notice {
            Notice::Granted(grant) if grant.claim == claim => Some(*grant),
            _ => None,
        };
        self.hear("the push of a grant", pick).await
    }

    /// Waits for the news that an operator took the claim away.
    pub(super) async fn hear_revoked(&mut self, claim: ClaimId) {
        let pick = |notice: &Notice| matches!(notice, Notice::Revoked(revoked) if *revoked == claim).then_some(());
        self.hear("the notice that the claim is revoked", pick).await;
    }

    /// The notices that nobody waited for.
    pub(super) fn left_over(&mut self) -> Vec<Notice> {
        while let Ok(notice) = self.inbox.try_recv() {
            self.heard.push(notice);
        }
        std::mem::take(&mut self.heard)
    }

    async fn hear<T>(&mut self, what: &str, pick: impl Fn(&Notice) -> Option<T>) -> T {
        let (patience, deadline) = (self.pace.patience, self.pace.world.now() + self.pace.patience);
        loop {
            if let Some(at) = self.heard.iter().position(|notice| pick(notice).is_some()) {
                return pick(&self.heard.remove(at)).expect("it was picked a line above");
            }
            match self.pace.world.until(deadline, self.inbox.recv()).await {
                Some(Some(notice)) => self.heard.push(notice),
                Some(None) => panic!("the stream of notices ended while the suite waited for {what}"),
                None => panic!("{what} did not come within {patience:?}; what came: {:?}", self.heard),
            }
        }
    }
}

/// The clock, and how long to wait by it.
#[derive(Clone)]
struct Pace {
    world: World,
    patience: Duration,
}

impl Pace {
    fn io_deadline(&self) -> Instant {
        self.world.now() + self.patience
    }

    async fn within<T>(&self, answer: Answer<T>) -> Result<T, Error> {
        let limit = self.patience * 2;
        let answer = self.world.until(self.world.now() + limit, answer).await;
        answer.unwrap_or_else(|| panic!("a verb did not end within {limit:?}"))
    }
}

/// What others see of the client `client`.
pub(super) fn about(client: u64) -> About {
    About {
        host: "host of the suite".to_owned(),
        pid: std::process::id(),
        program: "conformance".to_owned(),
        label: Some(format!("client {client:x}")),
    }
}

/// One attempt of a client at a resource.
pub(super) struct Attempt {
    engine: Arc<dyn Engine>,
    pace: Pace,
    pub(super) resource: ResourceName,
    pub(super) claim: ClaimId,
    pub(super) want: Want,
    pub(super) terms: Terms,
    asked: u32,
}

impl Attempt {
    /// The same with other terms.
    pub(super) fn with(mut self, terms: Terms) -> Attempt {
        self.terms = terms;
        self
    }

    /// The same for `permits` of `capacity`.
    pub(super) fn wanting(mut self, permits: u32, capacity: u32) -> Attempt {
        self.want = Want::new(permits, capacity).expect("a suite wants what can be had");
        self
    }

    /// The number of the last ask.
    pub(super) fn last_ask(&self) -> ReqNo {
        ReqNo(self.asked)
    }

    /// Asks once.
    pub(super) async fn ask(&mut self, wait: bool) -> ClaimReply {
        expect(self.ask_or_error(wait).await)
    }

    /// Asks once, where an error may be right.
    pub(super) async fn ask_or_error(&mut self, wait: bool) -> Result<ClaimReply, Error> {
        let first = self.asked == 0;
        self.asked += 1;
        let call = ClaimCall {
            resource: self.resource.clone(),
            claim: self.claim,
            want: self.want,
            terms: self.terms,
            ask: Ask { no: ReqNo(self.asked), first, wait, spare: 0 },
            route: if first { Route::Caller } else { Route::Driver },
            io_deadline: self.pace.io_deadline(),
        };
        self.pace.within(self.engine.claim(call)).await
    }

    /// Asks, and must be granted at once.
    pub(super) async fn granted(&mut self) -> Token {
        match self.ask(true).await {
            ClaimReply::Granted(grant) => self.check(grant),
            other => panic!("{:?} of {:?} must be granted, got {other:?}", self.claim, self.resource),
        }
    }

    /// Asks, and must get a place; an engine may answer the first ask busy.
    pub(super) async fn queued(&mut self) -> Contention {
        match self.queued_or_granted().await {
            ClaimReply::Queued(contention) => contention,
            other => panic!("{:?} of {:?} must be queued, got {other:?}", self.claim, self.resource),
        }
    }

    /// Asks, and must get a place or hold.
    pub(super) async fn queued_or_granted(&mut self) -> ClaimReply {
        let mut reply = self.ask(true).await;
        if self.asked == 1 && matches!(reply, ClaimReply::Busy(_)) {
            reply = self.ask(true).await;
        }
        let fine = matches!(reply, ClaimReply::Queued(_) | ClaimReply::Granted(_));
        assert!(fine, "{:?} of {:?} must be queued or granted, got {reply:?}", self.claim, self.resource);
        reply
    }

    /// Asks without waiting, and must be busy.
    pub(super) async fn busy(&mut self) -> Contention {
        match self.ask(false).await {
            ClaimReply::Busy(contention) => contention,
            other => panic!("{:?} of {:?} must be busy, got {other:?}", self.claim, self.resource),
        }
    }

    /// Asks again, as a waiter does, until it holds.
    pub(super) async fn until_granted(&mut self) -> Grant {
        let (patience, deadline) = (self.pace.patience, self.pace.world.now() + self.pace.patience);
        loop {
            match self.ask(true).await {
                ClaimReply::Granted(grant) => {
                    self.check(grant);
                    return grant;
                }
                ClaimReply::Stale => panic!("{:?} of {:?} is stale, though nobody released it", self.claim, self.resource),
                ClaimReply::Queued(_) | ClaimReply::Busy(_) => {}
            }
            assert!(self.pace.world.now() < deadline, "{:?} was not granted {:?} within {patience:?}", self.claim, self.resource);
            self.pace.world.sleep(GLANCE).await;
        }
    }

    /// An answered grant is of this claim and lasts the full ttl from its sending.
    fn check(&self, grant: Grant) -> Token {
        assert_eq!(grant.claim, self.claim, "the answer is about the claim that asked");
        assert_eq!(grant.bound, Bound::FromSend(self.terms.ttl), "an answered grant lasts the full ttl from its sending");
        grant.token
    }

    pub(super) async fn renew(&self) -> RenewReply {
        self.renew_as(false).await
    }

    pub(super) async fn renew_as(&self, detached: bool) -> RenewReply {
        self.renew_for(detached, 0).await
    }

    /// Renews, must succeed, and returns what it brought, which is so many tokens besides.
    pub(super) async fn renewed_with(&self, tokens: u32) -> Renewed {
        match self.renew_for(false, tokens).await {
            RenewReply::Renewed(renewed) => renewed,
            RenewReply::Lost => panic!("a holder's renewal succeeds"),
        }
    }

    async fn renew_for(&self, detached: bool, tokens: u32) -> RenewReply {
        let call = RenewCall {
            resource: self.resource.clone(),
            claim: self.claim,
            want: self.want,
            terms: self.terms,
            detached,
            tokens,
            io_deadline: self.pace.io_deadline(),
        };
        expect(self.pace.within(self.engine.renew(call)).await)
    }

    /// Renews, and must succeed.
    pub(super) async fn renewed(&self) {
        assert_eq!(self.renew().await.bound(), Some(Bound::FromSend(self.terms.ttl)), "a holder's renewal succeeds");
    }

    /// Renews, and must be lost.
    pub(super) async fn lost(&self) {
        assert_eq!(self.renew().await, RenewReply::Lost, "{:?} does not hold {:?}", self.claim, self.resource);
    }

    pub(super) async fn release(&self, manner: Manner) -> ReleaseReply {
        let call = ReleaseCall {
            resource: self.resource.clone(),
            claim: self.claim,
            manner,
            // Its asks were answered, so a release may go either way.
            route: if self.asked > 2 { Route::Driver } else { Route::Caller },
            io_deadline: self.pace.io_deadline(),
        };
        expect(self.pace.within(self.engine.release(call)).await)
    }

    /// Gives its hold or its place back, and must have had it.
    pub(super) async fn released(&self) {
        let reply = self.release(Manner::Own { keep: Duration::ZERO }).await;
        assert_eq!(reply, ReleaseReply::Released, "{:?} gives {:?} back", self.claim, self.resource);
    }

    /// Gives back what another holds by now.
    pub(super) async fn taken(&self) {
        let reply = self.release(Manner::Own { keep: Duration::ZERO }).await;
        assert!(matches!(reply, ReleaseReply::Taken(_)), "another holds {:?} by now, got {reply:?}", self.resource);
    }

    /// This attempt as another client would name it: an operator's view.
    pub(super) fn seen_by(&self, actor: &Actor) -> Attempt {
        Attempt { claim: self.claim, want: self.want, terms: self.terms, asked: self.asked, ..actor.attempt(&self.resource) }
    }
}

/// A resource's name that no other suite or run uses.
pub(super) fn fresh_name(store: &dyn Store) -> ResourceName {
    name(&format!("conformance:{:016x}:run", store.world().random()))
}

/// A legal name.
pub(super) fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("the names of the suites are legal")
}

/// Waits until nobody waits for or holds `resource` and the store keeps nothing of it.
pub(super) async fn no_residue(store: &dyn Store, actor: &Actor, resource: &ResourceName) {
    let shown = actor.inspect(resource).await;
    assert!(shown.holders.is_empty() && shown.waiters.is_empty(), "nobody is left on {resource:?}: {shown:?}");
    // What clients keep for `list` may be written in the background.
    let gone = async || !actor.list().await.iter().any(|inspection| inspection.resource == *resource);
    eventually(store, "a resource that nobody uses leaves the list", gone).await;
    let residue = store.residue(resource).await;
    assert!(residue.is_empty(), "the store keeps nothing of a resource that nobody uses: {residue:?}");
}

/// Looks until `condition` holds.
pub(super) async fn eventually(store: &dyn Store, what: &str, condition: impl AsyncFn() -> bool) {
    let (patience, deadline) = (store.patience(), store.world().now() + store.patience());
    while !condition().await {
        assert!(store.world().now() < deadline, "{what}: not within {patience:?}");
        store.world().sleep(GLANCE).await;
    }
}

/// What was granted just now may not have been granted sooner than `span` after what was asked for at `sent` or later.
pub(super) fn not_before(store: &dyn Store, sent: Instant, span: Duration) {
    // Sound on any machine: the store began to count after `sent`, and stopped before now. Stores count in milliseconds.
    let waited = store.world().now().since(sent);
    assert!(waited + Duration::from_millis(20) >= span, "others are kept out for {span:?}, one was let in after {waited:?}");
}

/// The claims and states of the holders or waiters shown.
pub(super) fn claims(parties: &[Party]) -> Vec<(Option<ClaimId>, PartyState)> {
    parties.iter().map(|party| (party.claim, party.state)).collect()
}

fn expect<T>(answer: Result<T, Error>) -> T {
    answer.unwrap_or_else(|error| panic!("the store must answer, got: {error}"))
}

/// What an engine tells from here on, as a stream.
pub fn notices_of(engine: &dyn Engine) -> UnboundedReceiver<Notice> {
    let (sender, receiver) = unbounded_channel();
    engine.listen(Arc::new(move |notice| {
        // Nobody may read any more.
        let _ = sender.send(notice);
    }));
    receiver
}
