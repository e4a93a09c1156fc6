//! The `memory` engine: the lock table behind a mutex, for the tasks and threads of one process, and for tests.

use crate::engine::{
    About, Answer, Capabilities, ClaimCall, Context, Ear, Engine, Inspection, Listener, Notice, Party, PartyState, Reach,
    ReleaseCall, RenewCall,
};
use crate::error::Error;
use crate::world::World;
use leasehold_core::table::{Refusal, Seat, Standing, Table, Told, Upkeep, View, Wish};
use leasehold_core::{ClaimId, ClaimReply, Grant, Instant, ReleaseReply, RenewReply, ResourceName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

const NAME: &str = "memory";

/// The engine of `memory:NAME`, shared by name within the process; with no name, one of its own.
pub(crate) fn open(name: &str, context: &Context) -> Arc<dyn Engine> {
    let store = if name.is_empty() { MemoryStore::new() } else { MemoryStore::named(name) };
    store.engine(&context.world, context.client, context.about.clone())
}

/// A store in this process's memory; clones are the same store.
///
/// For users' tests it fails on demand: [`expire`](MemoryStore::expire) ends a lease, [`freeze`](MemoryStore::freeze) and
/// [`thaw`](MemoryStore::thaw) stop and start the store, [`fail`](MemoryStore::fail) makes it answer with an error.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    frozen: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    table: Table,
    clients: BTreeMap<u64, Client>,
    failure: Option<Error>,
    /// How many records were left by the last sweep.
    swept: usize,
    /// What is to be told once the state is unlocked.
    outbox: Vec<(Ear, Notice)>,
}

struct Client {
    about: About,
    /// `None` once its engine is gone; what it left behind still shows whose it is.
    ear: Option<Ear>,
}

impl MemoryStore {
    /// A store that nobody else has.
    pub fn new() -> MemoryStore {
        MemoryStore { shared: Arc::new(Shared { state: Mutex::default(), frozen: watch::Sender::new(false) }) }
    }

    /// The store that everybody in this process knows by this name. It lives as long as the process.
    pub fn named(name: &str) -> MemoryStore {
        static NAMED: Mutex<BTreeMap<String, MemoryStore>> = Mutex::new(BTreeMap::new());
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        named.entry(name.to_owned()).or_default().clone()
    }

    /// A client of this store. `client` is the half that its claims' ids share, and is nobody else's.
    pub fn engine(&self, world: &World, client: u64, about: About) -> Arc<dyn Engine> {
        let ear = Ear::default();
        let mut state = self.state();
        state.table.raise(world.wall_micros());
        state.forget_strangers(world.now());
        state.clients.insert(client, Client { about, ear: Some(ear.clone()) });
        drop(state);
        Arc::new(Memory { store: self.clone(), world: world.clone(), client, ear })
    }

    /// Ends the leases of those who hold `resource`, as if their time were over: their renewals answer lost, and the next in line
    /// is granted unless a `lock_delay` keeps it out. Their own clocks do not know, as with a store that lost its data.
    pub fn expire(&self, resource: &ResourceName) {
        let now = crate::world::boottime();
        let mut state = self.state();
        let grants = state.table.expire(now, resource);
        state.push(grants);
        tell_outbox(state);
    }

    /// Stops the store: every verb stays unanswered, and unexecuted, until [`thaw`](MemoryStore::thaw).
    pub fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    /// Starts the store again: what waited is executed now.
    pub fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// Makes every verb answer with this error and do nothing else; `None` ends it.
    pub fn fail(&self, error: Option<Error>) {
        self.state().failure = error;
    }

    /// Waits while the store is frozen; the error that it is to answer, if there is one.
    async fn turn(&self) -> Result<(), Error> {
        let mut frozen = self.shared.frozen.subscribe();
        // The sender lives in `self`, so waiting ends by a thaw only.
        let _ = frozen.wait_for(|frozen| !frozen).await;
        self.state().failure.clone().map_or(Ok(()), Err)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The table is whole after every verb: a panic elsewhere while it was locked cannot have bent it.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

/// One client of a [`MemoryStore`].
struct Memory {
    store: MemoryStore,
    world: World,
    client: u64,
    ear: Ear,
}

impl Engine for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities { queue: true, permits: true, push: true, ..Capabilities::new(NAME, Reach::Process) }
    }

    fn claim(&self, call: ClaimCall) -> Answer<ClaimReply> {
        let wish = Wish { claim: call.claim, want: call.want, terms: call.terms, ask: call.ask };
        self.verb(move |state, now| {
            let refused = |refusal: Refusal| Error::config(refusal.to_string()).on(NAME).about(&call.resource);
            let told = state.table.claim(now, &call.resource, &wish).map_err(refused)?;
            Ok(state.tell(now, told))
        })
    }

    fn renew(&self, call: RenewCall) -> Answer<RenewReply> {
        let upkeep =
            Upkeep { claim: call.claim, want: call.want, terms: call.terms, detached: call.detached, tokens: call.tokens };
        self.verb(move |state, now| {
            let told = state.table.renew(now, &call.resource, &upkeep);
            Ok(state.tell(now, told))
        })
    }

    fn release(&self, call: ReleaseCall) -> Answer<ReleaseReply> {
        self.verb(move |state, now| {
            let told = state.table.release(now, &call.resource, call.claim, call.manner);
            Ok(state.tell(now, told))
        })
    }

    fn inspect(&self, resource: ResourceName, _io_deadline: Instant) -> Answer<Inspection> {
        self.verb(move |state, now| {
            let view = state.table.inspect(now, &resource);
            Ok(state.inspection(resource, view))
        })
    }

    fn list(&self, _io_deadline: Instant) -> Answer<Vec<Inspection>> {
        self.verb(move |state, now| {
            let views = state.table.list(now);
            Ok(views.into_iter().map(|(resource, view)| state.inspection(resource, view)).collect())
        })
    }

    fn listen(&self, listener: Listener) {
        self.ear.listen(listener);
    }

    fn close(&self) -> Answer<()> {
        self.store.state().part(self.client);
        self.ear.close();
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Memory {
    /// The answer of `act` on the state, at its turn.
    fn verb<T: Send + 'static>(&self, act: impl FnOnce(&mut State, Instant) -> Result<T, Error> + Send + 'static) -> Answer<T> {
        let (store, world) = (self.store.clone(), self.world.clone());
        Box::pin(async move {
            store.turn().await?;
            let mut state = store.state();
            // Read inside the lock: the table's time never runs backwards.
            let now = world.now();
            let answer = act(&mut state, now);
            tell_outbox(state);
            answer
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.store.state().part(self.client);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Unlocks the state, and tells what was done: a listener may end a client, whose own end looks at the state.
fn tell_outbox(mut state: MutexGuard<'_, State>) {
    let outbox = std::mem::take(&mut state.outbox);
    drop(state);
    outbox.into_iter().for_each(|(ear, notice)| ear.tell(notice));
}

impl State {
    /// Tells others what the verb did to them, and gives back its reply.
    fn tell<R>(&mut self, now: Instant, told: Told<R>) -> R {
        for claim in told.revoked {
            self.notify(claim, Notice::Revoked(claim));
        }
        self.push(told.grants);
        // Records of holders that died are noticed by the next verb on the same resource only: look at all of them when there
        // are twice as many as the last look left, which costs each verb a constant share.
        if self.table.len() > 2 * self.swept + 64 {
            let grants = self.table.sweep(now);
            self.push(grants);
            self.swept = self.table.len();
        }
        told.reply
    }

    fn push(&mut self, grants: Vec<Grant>) {
        for grant in grants {
            self.notify(grant.claim, Notice::Granted(grant));
        }
    }

    fn notify(&mut self, claim: ClaimId, notice: Notice) {
        if let Some(Client { ear: Some(ear), .. }) = self.clients.get(&claim.client()) {
            self.outbox.push((ear.clone(), notice));
        }
    }

    fn part(&mut self, client: u64) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.ear = None;
        }
    }

    /// Forgets clients that are gone and left nothing behind.
    fn forget_strangers(&mut self, now: Instant) {
        let State { table, clients, .. } = self;
        let gone = clients.values().any(|client| client.ear.is_none());
        if !gone {
            return;
        }
        let views = table.list(now);
        let seats = views.iter().flat_map(|(_, view)| view.holders.iter().chain(&view.waiters));
        let present: BTreeSet<u64> = seats.map(|seat| seat.claim.client()).collect();
        clients.retain(|id, client| client.ear.is_some() || present.contains(id));
    }

    fn inspection(&self, resource: ResourceName, view: View) -> Inspection {
        let party = |seat: &Seat| self.party(seat);
        Inspection {
            resource,
            holders: view.holders.iter().map(party).collect(),
            waiters: view.waiters.iter().map(party).collect(),
        }
    }

    fn party(&self, seat: &Seat) -> Party {
        Party {
            claim: Some(seat.claim),
            foreign: None,
            token: seat.token,
            since: Some(seat.since),
            lease_left: Some(seat.left),
            about: self.clients.get(&seat.claim.client()).map(|client| client.about.clone()),
            state: match seat.standing {
                Standing::Live => PartyState::Live,
                Standing::Detached => PartyState::Detached,
                Standing::Ghost => PartyState::Ghost,
                Standing::Revoked => PartyState::Revoked,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Route;
    use crate::error::ErrorKind;
    use futures_util::FutureExt;
    use leasehold_core::{Ask, HoldPolicy, Manner, ReqNo, Terms, Want};
    use std::time::Duration;

    const CLIENT: u64 = 7;

    fn notices_of(engine: &dyn Engine) -> tokio::sync::mpsc::UnboundedReceiver<Notice> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        engine.listen(Arc::new(move |notice| drop(sender.send(notice))));
        receiver
    }

    fn engine(store: &MemoryStore) -> Arc<dyn Engine> {
        let about = About { host: "h".into(), pid: 1, program: "p".into(), label: None };
        store.engine(&World::with_thread("memory").unwrap(), CLIENT, about)
    }

    fn name() -> ResourceName {
        ResourceName::new("r").unwrap()
    }

    fn terms() -> Terms {
        let policy = HoldPolicy::default();
        let (place_life, place_margin) = (policy.place_life(), policy.beat());
        Terms { ttl: policy.ttl, lock_delay: Duration::ZERO, place_life, place_margin }
    }

    fn claim(engine: &dyn Engine, serial: u64) -> Answer<ClaimReply> {
        engine.claim(ClaimCall {
            resource: name(),
            claim: ClaimId::new(CLIENT, serial),
            want: Want::ALL_OF_ONE,
            terms: terms(),
            ask: Ask { no: ReqNo(1), first: true, wait: true, spare: 0 },
            route: Route::Caller,
            io_deadline: Instant::FAR,
        })
    }

    fn renew(engine: &dyn Engine, serial: u64) -> Answer<RenewReply> {
        engine.renew(RenewCall {
            resource: name(),
            claim: ClaimId::new(CLIENT, serial),
            want: Want::ALL_OF_ONE,
            terms: terms(),
            detached: false,
            tokens: 0,
            io_deadline: Instant::FAR,
        })
    }

    /// The answer of a verb that is polled once, by no runtime.
    fn now<T>(answer: Answer<T>) -> Result<T, Error> {
        answer.now_or_never().expect("a store that is not frozen answers at once")
    }

    fn is_granted(reply: Result<ClaimReply, Error>) -> bool {
        matches!(reply, Ok(ClaimReply::Granted(_)))
    }

    #[test]
    fn verbs_need_no_runtime() {
        let engine = engine(&MemoryStore::new());
        assert!(is_granted(now(claim(&*engine, 1))));
        assert!(matches!(now(renew(&*engine, 1)), Ok(RenewReply::Renewed(_))));
        assert_eq!(now(engine.list(Instant::FAR)).unwrap().len(), 1);
    }

    #[test]
    fn an_expired_holder_is_lost_and_the_waiter_is_granted_by_a_push() {
        let store = MemoryStore::new();
        let engine = engine(&store);
        let mut notices = notices_of(&*engine);
        now(claim(&*engine, 1)).unwrap();
        now(claim(&*engine, 2)).unwrap();
        store.expire(&name());
        assert_eq!(now(renew(&*engine, 1)).unwrap(), RenewReply::Lost);
        assert!(matches!(notices.try_recv(), Ok(Notice::Granted(grant)) if grant.claim == ClaimId::new(CLIENT, 2)));
        assert!(matches!(now(renew(&*engine, 2)), Ok(RenewReply::Renewed(_))));
    }

    #[test]
    fn a_listener_may_use_the_store_that_tells_it() {
        let (told, done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let store = MemoryStore::new();
            let engine = engine(&store);
            let same = store.clone();
            engine.listen(Arc::new(move |_| same.fail(None)));
            assert!(is_granted(now(claim(&*engine, 1))));
            assert!(!is_granted(now(claim(&*engine, 2))));
            store.expire(&name());
            assert!(!is_granted(now(claim(&*engine, 1))));
            let release = ReleaseCall::new(name(), ClaimId::new(CLIENT, 2), Manner::Own { keep: Duration::ZERO });
            now(engine.release(release)).unwrap();
            told.send(()).unwrap();
        });
        done.recv_timeout(Duration::from_secs(20)).expect("the store must not be locked while it tells");
    }

    #[test]
    fn a_frozen_store_answers_and_acts_after_the_thaw() {
        let store = MemoryStore::new();
        let engine = engine(&store);
        store.freeze();
        let mut answer = claim(&*engine, 1);
        assert!((&mut answer).now_or_never().is_none());
        assert!(claim(&*engine, 2).now_or_never().is_none(), "a verb dropped in the freeze never acts");
        store.thaw();
        assert!(is_granted(now(answer)));
        assert_eq!(now(engine.inspect(name(), Instant::FAR)).unwrap().holders.len(), 1);
    }

    #[test]
    fn a_failing_store_answers_its_error_and_does_nothing() {
        let store = MemoryStore::new();
        let engine = engine(&store);
        store.fail(Some(Error::unavailable("on demand")));
        assert_eq!(now(claim(&*engine, 1)).unwrap_err().kind(), ErrorKind::Unavailable);
        store.fail(None);
        assert!(is_granted(now(claim(&*engine, 2))), "the first claim was not made");
    }

    #[test]
    fn a_name_is_one_store_and_a_new_store_is_nobody_elses() {
        let (one, same) = (engine(&MemoryStore::named("tests: a")), engine(&MemoryStore::named("tests: a")));
        let others = [engine(&MemoryStore::named("tests: b")), engine(&MemoryStore::new())];
        assert!(is_granted(now(claim(&*one, 1))));
        assert!(!is_granted(now(claim(&*same, 2))));
        assert!(others.iter().all(|other| is_granted(now(claim(&**other, 2)))));
    }

    #[test]
    fn a_client_that_is_gone_is_forgotten_once_it_holds_nothing() {
        let store = MemoryStore::new();
        let gone = engine(&store);
        now(claim(&*gone, 1)).unwrap();
        drop(gone);
        let world = World::with_thread("memory").unwrap();
        let about = About { host: "h".into(), pid: 2, program: "p".into(), label: None };
        let other = store.engine(&world, 8, about.clone());
        assert_eq!(now(other.inspect(name(), Instant::FAR)).unwrap().holders[0].about.as_ref().unwrap().pid, 1);
        store.expire(&name());
        let _third = store.engine(&world, 9, about);
        assert_eq!(store.state().clients.keys().copied().collect::<Vec<_>>(), [8, 9]);
    }

    #[test]
    fn records_that_ran_out_unnoticed_do_not_pile_up() {
        let store = MemoryStore::new();
        let engine = engine(&store);
        for serial in 0..1000 {
            let mut dies = Terms { ttl: Duration::from_nanos(1), ..terms() };
            dies.place_life = dies.ttl;
            let answer = engine.claim(ClaimCall {
                resource: ResourceName::new(&format!("r{serial}")).unwrap(),
                claim: ClaimId::new(CLIENT, serial),
                want: Want::ALL_OF_ONE,
                terms: dies,
                ask: Ask { no: ReqNo(1), first: true, wait: false, spare: 0 },
                route: Route::Caller,
                io_deadline: Instant::FAR,
            });
            now(answer).unwrap();
        }
        assert!(store.state().table.len() < 100);
    }

    #[test]
    fn a_goodbye_ends_the_notices() {
        let store = MemoryStore::new();
        let engine = engine(&store);
        let mut notices = notices_of(&*engine);
        now(engine.close()).unwrap();
        assert_eq!(notices.try_recv().unwrap_err(), tokio::sync::mpsc::error::TryRecvError::Disconnected);
        let own = Manner::Own { keep: Duration::ZERO };
        let (claim, io_deadline) = (ClaimId::new(CLIENT, 1), Instant::FAR);
        let release = ReleaseCall { resource: name(), claim, manner: own, route: Route::Driver, io_deadline };
        assert_eq!(now(engine.release(release)).unwrap(), ReleaseReply::Absent);
    }
}
