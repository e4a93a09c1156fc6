//! An engine over `memory` that breaks one rule, for suites that must notice.

use leasehold::conformance::{Pending, Store};
use leasehold::engine::{About, Answer, Capabilities, ClaimCall, Engine, Inspection, Listener, Notice, ReleaseCall, RenewCall};
use leasehold::engines::memory::MemoryStore;
use leasehold::world::World;
use leasehold::{ClaimId, Error, Instant, ResourceName, Token};
use leasehold_core::{Block, Bound, ClaimReply, Contention, Grant, Manner, ReleaseReply, RenewReply, Renewed, ReqNo};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// None: the wrapper itself must pass.
    None,
    GrantsEverybody,
    BusyTakesAPlace,
    ReleasesWithoutOwnerCheck,
    RenewsWithoutOwnerCheck,
    RenewalRevives,
    RenewalShortens,
    RepeatKeepsItsToken,
    TokensPerResource,
    TokensPerClient,
    AnswersTheRestOfThePlace,
    ExpiresEarly,
    NeverExpires,
    PlacesNeverEnd,
    MarginIsIgnored,
    HandOffLastsTheFullTtl,
    BeatLosesItsPlace,
    WithdrawalIsForgotten,
    PushNamesTheFirstAsk,
    PushCountsFromItsReceipt,
    PushIsLost,
    MinHoldIsIgnored,
    LockDelayIsIgnored,
    LateReleaseMakesAGhost,
    ReleasedClaimIsGrantedAgain,
    RevokeIsAtOnce,
    RevokeIsNotTold,
    RevokeNowWaits,
    SecondReleaseIsAbsent,
    HidesWaiters,
    ListIsEmpty,
    ListIsUnsorted,
    DetachIsForgotten,
    GoodbyeReleases,
    NamesFoldCase,
    NamesAreTrimmed,
    NamesAreCut,
    CapacityIsIgnored,
    SetsTheSameTokensAside,
    NeverSaysThatOthersWait,
}

/// A fresh store whose clients all break the same rule.
pub fn open(flaw: Flaw) -> impl Store {
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    Fixture { store: MemoryStore::new(), world: World::with_thread("broken").unwrap(), flaw, ledger }
}

struct Fixture {
    store: MemoryStore,
    world: World,
    flaw: Flaw,
    ledger: Arc<Mutex<Ledger>>,
}

/// What the broken clients of one store know of each other.
#[derive(Default)]
struct Ledger {
    /// The last call of each claim.
    calls: BTreeMap<ClaimId, ClaimCall>,
    /// The first token of each claim.
    first: BTreeMap<ClaimId, Token>,
    counters: BTreeMap<String, u64>,
    /// When a lease ends that renewals shorten.
    ends: BTreeMap<ClaimId, Instant>,
    grants: u64,
    /// The first tokens that were set aside.
    block: Option<Block>,
}

impl Store for Fixture {
    fn world(&self) -> &World {
        &self.world
    }

    fn connect(&self, client: u64, about: About) -> Pending<'_, Arc<dyn Engine>> {
        let inner = self.store.engine(&self.world, client, about);
        let (store, world, ledger) = (self.store.clone(), self.world.clone(), self.ledger.clone());
        let broken = Broken { inner, store, world, ledger, flaw: self.flaw, client };
        Box::pin(async { Arc::new(broken) as Arc<dyn Engine> })
    }

    fn patience(&self) -> Duration {
        match self.flaw {
            Flaw::None => Duration::from_secs(30),
            // A suite that waits for what this engine never does need not wait long to know.
            _ => Duration::from_secs(3),
        }
    }
}

#[derive(Clone)]
struct Broken {
    inner: Arc<dyn Engine>,
    store: MemoryStore,
    world: World,
    ledger: Arc<Mutex<Ledger>>,
    flaw: Flaw,
    client: u64,
}

impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broken").field("flaw", &self.flaw).finish_non_exhaustive()
    }
}

impl Engine for Broken {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn claim(&self, call: ClaimCall) -> Answer<ClaimReply> {
        let this = self.clone();
        Box::pin(async move { this.broken_claim(call).await })
    }

    fn renew(&self, call: RenewCall) -> Answer<RenewReply> {
        let this = self.clone();
        Box::pin(async move { this.broken_renew(call).await })
    }

    fn release(&self, call: ReleaseCall) -> Answer<ReleaseReply> {
        let this = self.clone();
        Box::pin(async move { this.broken_release(call).await })
    }

    fn inspect(&self, resource: ResourceName, io_deadline: Instant) -> Answer<Inspection> {
        let (flaw, answer) = (self.flaw, self.inner.inspect(self.named(&resource), io_deadline));
        Box::pin(async move {
            let mut inspection = answer.await?;
            inspection.resource = resource;
            if flaw == Flaw::HidesWaiters {
                inspection.waiters.clear();
            }
            Ok(inspection)
        })
    }

    fn list(&self, io_deadline: Instant) -> Answer<Vec<Inspection>> {
        let (flaw, answer) = (self.flaw, self.inner.list(io_deadline));
        Box::pin(async move {
            let mut list = answer.await?;
            match flaw {
                Flaw::ListIsEmpty => list.clear(),
                Flaw::ListIsUnsorted => list.reverse(),
                Flaw::HidesWaiters => list.iter_mut().for_each(|inspection| inspection.waiters.clear()),
                _ => {}
            }
            Ok(list)
        })
    }

    fn listen(&self, listener: Listener) {
        let flaw = self.flaw;
        self.inner.listen(Arc::new(move |mut notice| {
            match (flaw, &mut notice) {
                (Flaw::PushIsLost, Notice::Granted(_)) | (Flaw::RevokeIsNotTold, Notice::Revoked(_)) => return,
                (Flaw::PushNamesTheFirstAsk, Notice::Granted(grant)) => grant.bound = Bound::FromAsk(ReqNo(1)),
                (Flaw::PushCountsFromItsReceipt, Notice::Granted(grant)) => {
                    grant.bound = Bound::FromSend(Duration::from_secs(90));
                }
                _ => {}
            }
            listener(notice);
        }));
    }

    fn close(&self) -> Answer<()> {
        let this = self.clone();
        Box::pin(async move {
            if this.flaw == Flaw::GoodbyeReleases {
                this.end_all();
            }
            this.inner.close().await
        })
    }
}

impl Broken {
    async fn broken_claim(&self, mut call: ClaimCall) -> Result<ClaimReply, Error> {
        call.resource = self.named(&call.resource);
        let ttl = call.terms.ttl;
        self.ledger.lock().unwrap().calls.insert(call.claim, call.clone());
        match self.flaw {
            Flaw::GrantsEverybody => return Ok(ClaimReply::Granted(self.made_up_grant(&call))),
            Flaw::BusyTakesAPlace => call.ask.wait = true,
            Flaw::ExpiresEarly => call.terms.ttl = ttl / 4,
            Flaw::NeverExpires => call.terms.ttl = Duration::from_secs(86_400),
            Flaw::PlacesNeverEnd => call.terms.place_life = Duration::from_secs(86_400),
            Flaw::MarginIsIgnored => call.terms.place_margin = Duration::ZERO,
            Flaw::HandOffLastsTheFullTtl => call.terms.place_life = ttl,
            Flaw::LockDelayIsIgnored => call.terms.lock_delay = Duration::ZERO,
            Flaw::CapacityIsIgnored if self.holds(&call).await? => return Ok(ClaimReply::Busy(Contention::default())),
            Flaw::BeatLosesItsPlace if self.waits(&call).await? => self.withdraw(&call).await?,
            _ => {}
        }
        let wait = self.ledger.lock().unwrap().calls[&call.claim].ask.wait;
        let reply = self.inner.claim(call.clone()).await?;
        Ok(match (self.flaw, reply) {
            (Flaw::BusyTakesAPlace, ClaimReply::Queued(by)) if !wait => ClaimReply::Busy(by),
            (Flaw::ReleasedClaimIsGrantedAgain, ClaimReply::Stale) => ClaimReply::Granted(self.made_up_grant(&call)),
            (_, ClaimReply::Granted(grant)) => ClaimReply::Granted(self.bent(&call, grant, ttl)),
            (_, reply) => reply,
        })
    }

    /// The grant as this engine tells it.
    fn bent(&self, call: &ClaimCall, mut grant: Grant, ttl: Duration) -> Grant {
        let mut ledger = self.ledger.lock().unwrap();
        grant.bound = Bound::FromSend(ttl);
        match self.flaw {
            Flaw::RepeatKeepsItsToken => grant.token = *ledger.first.entry(call.claim).or_insert(grant.token),
            Flaw::TokensPerResource => grant.token = ledger.next(call.resource.as_str()),
            Flaw::TokensPerClient => grant.token = ledger.next(&self.client.to_string()),
            Flaw::AnswersTheRestOfThePlace => grant.bound = Bound::FromAsk(call.ask.no),
            Flaw::RenewalShortens => {
                ledger.ends.insert(call.claim, self.world.now() + ttl);
            }
            _ => {}
        }
        grant
    }

    async fn broken_renew(&self, mut call: RenewCall) -> Result<RenewReply, Error> {
        call.resource = self.named(&call.resource);
        let ttl = call.terms.ttl;
        let told = self.ledger.lock().unwrap().calls.get(&call.claim).cloned();
        match self.flaw {
            Flaw::RenewsWithoutOwnerCheck => {
                if let Some(holder) = self.holder(&call.resource, call.io_deadline).await? {
                    call.claim = holder;
                }
            }
            Flaw::RenewalShortens => {
                let end = self.ledger.lock().unwrap().ends.insert(call.claim, self.world.now() + ttl);
                if end.is_some_and(|end| end < self.world.now()) {
                    return Ok(RenewReply::Lost);
                }
            }
            Flaw::ExpiresEarly => call.terms.ttl = ttl / 4,
            Flaw::NeverExpires => call.terms.ttl = Duration::from_secs(86_400),
            Flaw::LockDelayIsIgnored => call.terms.lock_delay = Duration::ZERO,
            Flaw::DetachIsForgotten => call.detached = false,
            Flaw::GrantsEverybody => return Ok(RenewReply::Renewed(Renewed::plain(Bound::FromSend(ttl)))),
            _ => {}
        }
        let reply = self.inner.renew(call).await?;
        match (self.flaw, reply, told) {
            (Flaw::RenewalRevives, RenewReply::Lost, Some(mut again)) => {
                again.ask.wait = false;
                again.terms.ttl = ttl;
                let revived = matches!(self.inner.claim(again).await?, ClaimReply::Granted(_));
                Ok(if revived { RenewReply::Renewed(Renewed::plain(Bound::FromSend(ttl))) } else { RenewReply::Lost })
            }
            (Flaw::SetsTheSameTokensAside, RenewReply::Renewed(renewed), _) => {
                let mut ledger = self.ledger.lock().unwrap();
                ledger.block = ledger.block.or(renewed.block);
                Ok(RenewReply::Renewed(Renewed { block: ledger.block.filter(|_| renewed.block.is_some()), ..renewed }))
            }
            (Flaw::NeverSaysThatOthersWait, RenewReply::Renewed(renewed), _) => {
                Ok(RenewReply::Renewed(Renewed { others_wait: false, ..renewed }))
            }
            (_, RenewReply::Renewed(renewed), _) => Ok(RenewReply::Renewed(Renewed { bound: Bound::FromSend(ttl), ..renewed })),
            (_, reply, _) => Ok(reply),
        }
    }

    async fn broken_release(&self, mut call: ReleaseCall) -> Result<ReleaseReply, Error> {
        call.resource = self.named(&call.resource);
        let ghost = matches!(call.manner, Manner::Own { keep } if !keep.is_zero());
        match self.flaw {
            Flaw::ReleasesWithoutOwnerCheck => {
                if let Some(holder) = self.holder(&call.resource, call.io_deadline).await? {
                    call.claim = holder;
                }
            }
            Flaw::WithdrawalIsForgotten => {
                let inspection = self.inner.inspect(call.resource.clone(), call.io_deadline).await?;
                if inspection.waiters.iter().any(|waiter| waiter.claim == Some(call.claim)) {
                    return Ok(ReleaseReply::Released);
                }
            }
            Flaw::MinHoldIsIgnored if ghost => call.manner = Manner::Own { keep: Duration::ZERO },
            Flaw::LateReleaseMakesAGhost if ghost => return self.haunt(call).await,
            Flaw::RevokeIsAtOnce if call.manner == Manner::Revoke => call.manner = Manner::RevokeNow,
            Flaw::RevokeNowWaits if call.manner == Manner::RevokeNow => call.manner = Manner::Revoke,
            _ => {}
        }
        let reply = self.inner.release(call).await?;
        Ok(match (self.flaw, reply) {
            (Flaw::SecondReleaseIsAbsent, ReleaseReply::Taken(_)) => ReleaseReply::Absent,
            (_, reply) => reply,
        })
    }

    /// Keeps others out even though the lease is over.
    async fn haunt(&self, call: ReleaseCall) -> Result<ReleaseReply, Error> {
        let mut again = self.ledger.lock().unwrap().calls[&call.claim].clone();
        self.inner.release(with_manner(&call, Manner::RevokeNow)).await?;
        again.terms.ttl = Duration::from_secs(60);
        self.inner.claim(again).await?;
        self.inner.release(call).await
    }

    async fn withdraw(&self, call: &ClaimCall) -> Result<(), Error> {
        // A release cannot be made up outside of the library; who asks without waiting gives its place up too.
        let mut gone = call.clone();
        gone.ask.wait = false;
        self.inner.claim(gone).await.map(|_| ())
    }

    async fn waits(&self, call: &ClaimCall) -> Result<bool, Error> {
        let inspection = self.inner.inspect(call.resource.clone(), call.io_deadline).await?;
        Ok(inspection.waiters.iter().any(|waiter| waiter.claim == Some(call.claim)))
    }

    /// True if others hold, whatever number of permits they think that there is.
    async fn holds(&self, call: &ClaimCall) -> Result<bool, Error> {
        let holder = self.holder(&call.resource, call.io_deadline).await?;
        Ok(holder.is_some_and(|holder| holder != call.claim))
    }

    async fn holder(&self, resource: &ResourceName, io_deadline: Instant) -> Result<Option<ClaimId>, Error> {
        let inspection = self.inner.inspect(resource.clone(), io_deadline).await?;
        Ok(inspection.holders.first().and_then(|holder| holder.claim))
    }

    /// Ends what this client holds.
    fn end_all(&self) {
        let ledger = self.ledger.lock().unwrap();
        for call in ledger.calls.values().filter(|call| call.claim.client() == self.client) {
            self.store.expire(&call.resource);
        }
    }

    fn made_up_grant(&self, call: &ClaimCall) -> Grant {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.grants += 1;
        let token = Token::new(0, ledger.grants).unwrap();
        Grant { claim: call.claim, token, spare: 0, bound: Bound::FromSend(call.terms.ttl) }
    }

    /// The resource that this engine takes `resource` for.
    fn named(&self, resource: &ResourceName) -> ResourceName {
        let name = resource.as_str();
        let taken_for = match self.flaw {
            Flaw::NamesFoldCase => name.to_lowercase(),
            Flaw::NamesAreTrimmed => name.trim().to_owned(),
            Flaw::NamesAreCut => name.chars().take(250).collect(),
            _ => name.to_owned(),
        };
        ResourceName::new(&taken_for).unwrap()
    }
}

fn with_manner(call: &ReleaseCall, manner: Manner) -> ReleaseCall {
    let mut call = call.clone();
    call.manner = manner;
    call
}

impl Ledger {
    fn next(&mut self, counter: &str) -> Token {
        let last = self.counters.entry(counter.to_owned()).or_default();
        *last += 1;
        Token::new(0, *last).unwrap()
    }
}
