//! A client of a Redis server for tests of the engine alone.

use leasehold::conformance::notices_of;
use leasehold::engine::{About, ClaimCall, Engine, Notice, ReleaseCall, RenewCall, Route};
use leasehold::engines::redis::{RedisEngine, RedisOptions};
use leasehold::world::World;
use leasehold::{ClaimId, Error, Instant, ResourceName, Token, Want};
use leasehold_core::{Ask, ClaimReply, Grant, Manner, ReleaseReply, RenewReply, ReqNo, Terms};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// How long a test waits for what must come at some time.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// A plain release.
pub const PLAIN: Manner = Manner::Own { keep: Duration::ZERO };

/// Terms under which nothing ends while a test runs.
pub fn lasting() -> Terms {
    let second = Duration::from_secs(1);
    Terms { ttl: second * 90, lock_delay: Duration::ZERO, place_life: second * 60, place_margin: second }
}

pub fn name(text: &str) -> ResourceName {
    ResourceName::new(text).unwrap()
}

/// One client.
pub struct Client {
    pub engine: Arc<RedisEngine>,
    pub world: World,
    pub id: u64,
    inbox: UnboundedReceiver<Notice>,
}

impl Client {
    pub async fn join(url: &str) -> Client {
        Client::try_join(url).await.unwrap_or_else(|error| panic!("the server must be reachable: {error}"))
    }

    pub async fn try_join(url: &str) -> Result<Client, Error> {
        let world = World::with_thread("redis").unwrap();
        let id = world.random();
        let about = About { host: "here".into(), pid: 1, program: "test".into(), label: None };
        let engine = RedisEngine::connect(url, RedisOptions::new(), &world, (id, about)).await?;
        let inbox = notices_of(&*engine);
        Ok(Client { engine, world, id, inbox })
    }

    pub fn fresh(&self) -> ClaimId {
        ClaimId::new(self.id, self.world.random())
    }

    pub fn within(&self, span: Duration) -> Instant {
        self.world.now() + span
    }

    /// Ask number `no`: the first by the caller's way, the others by the driver's.
    pub fn call(&self, resource: &str, claim: ClaimId, (no, wait): (u32, bool)) -> ClaimCall {
        let mut call = ClaimCall::new(name(resource), claim, Want::ALL_OF_ONE, lasting());
        call.ask = Ask { no: ReqNo(no), first: no == 1, wait, spare: 0 };
        call.route = if no == 1 { Route::Caller } else { Route::Driver };
        call.io_deadline = self.within(PATIENCE);
        call
    }

    pub async fn ask(&self, resource: &str, claim: ClaimId, (no, wait): (u32, bool)) -> Result<ClaimReply, Error> {
        self.engine.claim(self.call(resource, claim, (no, wait))).await
    }

    /// A fresh claim that must be granted at once.
    pub async fn hold(&self, resource: &str) -> (ClaimId, Token) {
        let claim = self.fresh();
        match self.ask(resource, claim, (1, true)).await.unwrap() {
            ClaimReply::Granted(grant) => (claim, grant.token),
            other => panic!("{resource} must be granted, got {other:?}"),
        }
    }

    /// A fresh claim that must be queued; the number of its last ask.
    pub async fn wait_for(&self, resource: &str) -> (ClaimId, ReqNo) {
        let claim = self.fresh();
        for no in 1..=2 {
            if let ClaimReply::Queued(_) = self.ask(resource, claim, (no, true)).await.unwrap() {
                return (claim, ReqNo(no));
            }
        }
        panic!("{resource} must be held, and the claim be queued");
    }

    pub async fn renew(&self, resource: &str, claim: ClaimId) -> Result<RenewReply, Error> {
        self.renew_as(resource, claim, false).await
    }

    pub async fn renew_as(&self, resource: &str, claim: ClaimId, detached: bool) -> Result<RenewReply, Error> {
        let mut call = RenewCall::new(name(resource), claim, Want::ALL_OF_ONE, lasting());
        call.detached = detached;
        call.io_deadline = self.within(PATIENCE);
        self.engine.renew(call).await
    }

    pub async fn release(&self, resource: &str, claim: ClaimId) -> Result<ReleaseReply, Error> {
        self.release_by(resource, claim, Route::Driver).await
    }

    pub async fn release_by(&self, resource: &str, claim: ClaimId, route: Route) -> Result<ReleaseReply, Error> {
        let mut call = ReleaseCall::new(name(resource), claim, PLAIN);
        call.route = route;
        call.io_deadline = self.within(PATIENCE);
        self.engine.release(call).await
    }

    /// Waits for a notice.
    pub async fn hear<T>(&mut self, what: &str, pick: impl Fn(Notice) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let notice = tokio::time::timeout_at(deadline, self.inbox.recv()).await;
            let notice = notice.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"));
            if let Some(found) = pick(notice.expect("the engine lives, and so does its stream")) {
                return found;
            }
        }
    }

    pub async fn hear_grant(&mut self, claim: ClaimId) -> Grant {
        let pick = |notice| match notice {
            Notice::Granted(grant) if grant.claim == claim => Some(grant),
            _ => None,
        };
        self.hear("the push of a grant", pick).await
    }

    pub async fn hear_link_up(&mut self) {
        self.hear("the link", |notice| matches!(notice, Notice::LinkUp).then_some(())).await;
    }
}

/// Looks until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
