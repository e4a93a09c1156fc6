//! What the verbs and the background work of one engine share: its two connections, its memory, its notices.

use super::book::Book;
use super::config::Target;
use super::fault::Fault;
use super::ledger::{Ledger, Rescue};
use super::link::{self, Greeting, Link, LinkId, OnPush, Purpose, Side};
use super::upkeep::{abort_if_not_up, keep_caller};
use crate::engine::{About, Ear, Notice, Route};
use crate::error::Error;
use crate::world::World;
use leasehold_core::{Bound, Grant, Instant, Token};
use leasehold_wire::{HoldState, Push, raise};
use redis::{PushInfo, PushKind, Value};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

/// How long connecting and shaking hands may take in all.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// The shortest and the longest wait before another attempt to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(1));

/// One engine, shared by its verbs and its background work.
pub(super) struct Inner {
    pub(super) world: World,
    pub(super) target: Target,
    pub(super) client: u64,
    /// What others see of this client, as JSON.
    pub(super) about: String,
    /// Tokens below this were granted by a store that has lost its counter.
    pub(super) floor: AtomicU64,
    /// Wakes the registry's writer.
    pub(super) registry: Notify,
    /// The registry may have been lost with the connection: it is written anew.
    pub(super) rewrite: AtomicBool,
    pub(super) pushes: AtomicBool,
    pub(super) warnings: Mutex<Vec<String>>,
    pub(super) ear: Ear,
    pub(super) ledger: Arc<Ledger>,
    book: Mutex<Book>,
    generation: AtomicU64,
    driver: Mutex<Slot>,
    caller: Mutex<Slot>,
    /// The runtime that connected, if there was one.
    home: Option<Handle>,
    closed: AtomicBool,
    /// Held while the one subscription moves from one connection to the other.
    moving: tokio::sync::Mutex<()>,
}

/// One of the two connections, or why there is none.
#[derive(Default)]
struct Slot {
    link: Option<Arc<Link>>,
    trouble: Option<Error>,
    attempt: Option<AbortHandle>,
    failures: u32,
    not_before: Option<Instant>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEngine")
            .field("target", &self.target)
            .field("client", &format_args!("{:016x}", self.client))
            .finish()
    }
}

impl Inner {
    pub(super) fn new(target: Target, world: World, client: u64, about: &About) -> Inner {
        Inner {
            world,
            target,
            client,
            about: serde_json::to_string(about).expect("a struct of texts and a number has a JSON form"),
            floor: AtomicU64::new(0),
            registry: Notify::new(),
            rewrite: AtomicBool::new(false),
            pushes: AtomicBool::new(false),
            warnings: Mutex::default(),
            ear: Ear::default(),
            ledger: Arc::default(),
            book: Mutex::default(),
            generation: AtomicU64::new(0),
            driver: Mutex::default(),
            caller: Mutex::default(),
            home: World::current_handle(),
            closed: AtomicBool::new(false),
            moving: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nothing panics under this lock")
    }

    fn slot(&self, side: Side) -> MutexGuard<'_, Slot> {
        let slot = if side == Side::Caller { &self.caller } else { &self.driver };
        slot.lock().expect("nothing panics under this lock")
    }

    /// The connection of this id, if it still lives.
    pub(super) fn living(&self, id: LinkId) -> Option<Arc<Link>> {
        self.slot(id.side).link.clone().filter(|link| link.id == id && !link.grip.is_dead())
    }

    /// The driver's connection.
    ///
    /// # Errors
    /// Why there is none; nothing was sent.
    pub(super) fn driver(&self) -> Result<Arc<Link>, Error> {
        if self.is_closed() {
            return Err(Error::unavailable("the engine is closed"));
        }
        let slot = self.slot(Side::Driver);
        match &slot.link {
            Some(link) if !link.grip.is_dead() => Ok(link.clone()),
            _ => Err(slot.trouble.clone().unwrap_or_else(|| Error::unavailable("there is no connection at present"))),
        }
    }

    /// The connection that a call by `route` travels on: the caller's only on the runtime that connected, and only while it
    /// lives.
    ///
    /// # Errors
    /// Why there is none; nothing was sent.
    pub(super) fn link(self: &Arc<Inner>, route: Route) -> Result<Arc<Link>, Error> {
        if route == Route::Caller && self.is_at_home() {
            let link = self.slot(Side::Caller).link.clone().filter(|link| !link.grip.is_dead());
            match link {
                Some(link) if !self.is_closed() => return Ok(link),
                _ => self.connect_caller(None),
            }
        }
        self.driver()
    }

    fn is_at_home(&self) -> bool {
        self.home.as_ref().is_some_and(|home| World::current_runtime() == Some(home.id()))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends both connections and all background work.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for side in [Side::Caller, Side::Driver] {
            let mut slot = self.slot(side);
            if let Some(link) = slot.link.take() {
                link.grip.kill();
            }
            if let Some(attempt) = slot.attempt.take() {
                attempt.abort();
            }
        }
        self.registry.notify_one();
        self.ledger.nudge();
    }

    /// Marks the engine closed for new calls, while its connections stay.
    pub(super) fn close_to_calls(&self) -> Option<Arc<Link>> {
        let link = self.driver().ok();
        self.closed.store(true, Ordering::Release);
        link
    }

    pub(super) async fn open(self: &Arc<Inner>, side: Side, generation: u64) -> Result<Greeting, Error> {
        let weak = Arc::downgrade(self);
        let on_push: OnPush = Arc::new(move |push| weak.upgrade().is_some_and(|inner| inner.hear(push)));
        let listen = Some((self.target.space.channel(self.client), on_push));
        let io_deadline = self.world.now() + CONNECT;
        let id = LinkId { side, generation };
        link::open(&self.target, Purpose { id, world: self.world.clone(), ledger: self.ledger.clone(), listen, io_deadline })
            .await
    }

    pub(super) fn install(&self, greeting: &Greeting) {
        self.floor.fetch_max(greeting.counter, Ordering::AcqRel);
        let side = greeting.link.id.side;
        *self.slot(side) = Slot { link: Some(greeting.link.clone()), ..Slot::default() };
        if side == Side::Driver {
            self.pushes.store(greeting.pushes, Ordering::Release);
            *self.warnings.lock().expect("nothing panics under this lock") = greeting.warnings.clone();
        }
        // A close may have passed by while the hands were shaken.
        if self.is_closed() {
            greeting.link.grip.kill();
        }
    }

    pub(super) fn uninstall(&self, id: LinkId) {
        let mut slot = self.slot(id.side);
        if slot.link.as_ref().is_some_and(|link| link.id == id) {
            slot.link = None;
        }
        drop(slot);
        self.book().ended(id);
    }

    /// Remembers why there is no connection of the driver's.
    pub(super) fn keep_trouble(&self, error: Error) {
        self.slot(Side::Driver).trouble = Some(error);
    }

    /// True if this very connection of the caller's is in use.
    pub(super) fn caller_is_up(&self, generation: u64) -> bool {
        self.slot(Side::Caller).link.as_ref().is_some_and(|link| link.id.generation == generation)
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Leaves the client's subscription to one connection: the caller's while it can hear, since a grant that comes in on the
    /// runtime that waits for it needs no hop to another thread; else the driver's.
    pub(super) fn settle_listening(self: &Arc<Inner>) {
        let inner = self.clone();
        self.world.spawn(async move {
            let _one_at_a_time = inner.moving.lock().await;
            let caller = inner.slot(Side::Caller).link.clone().filter(|link| link.hears() && !link.grip.is_dead());
            let Ok(driver) = inner.driver() else { return };
            if !inner.pushes.load(Ordering::Acquire) || driver.hears() != caller.is_some() {
                return;
            }
            let channel = inner.target.space.channel(inner.client);
            let io_deadline = inner.world.now() + CONNECT;
            let moved = driver.listen(&channel, caller.is_none(), io_deadline);
            let moved = inner.world.until(io_deadline, moved).await;
            if caller.is_none() && moved == Some(true) {
                // Nobody heard what was said meanwhile.
                inner.tell(Notice::LinkUp);
            }
        });
    }

    /// How long to wait after so many failures in a row: doubled each time, and spread, so that clients do not come in step.
    pub(super) fn back_off(&self, failures: u32) -> Duration {
        let whole = (BACK_OFF.0 * 2u32.saturating_pow(failures.min(10))).min(BACK_OFF.1);
        let spread = u64::try_from(whole.as_micros() / 2).unwrap_or(1).max(1);
        whole / 2 + Duration::from_micros(self.world.random() % spread)
    }

    /// Spawns the connection of the caller's runtime, unless it is there, or being made, or failed just now.
    pub(super) fn connect_caller(self: &Arc<Inner>, settled: Option<oneshot::Sender<()>>) {
        let Some(home) = &self.home else { return };
        let now = self.world.now();
        let mut slot = self.slot(Side::Caller);
        let busy = slot.attempt.as_ref().is_some_and(|attempt| !attempt.is_finished());
        let alive = slot.link.as_ref().is_some_and(|link| !link.grip.is_dead());
        if self.is_closed() || busy || alive || slot.not_before.is_some_and(|instant| now < instant) {
            return;
        }
        slot.not_before = Some(now + self.back_off(slot.failures));
        slot.failures += 1;
        let generation = self.next_generation();
        let attempt = home.spawn(keep_caller(self.clone(), generation, settled)).abort_handle();
        slot.attempt = Some(attempt.clone());
        drop(slot);
        self.world.spawn(abort_if_not_up(Arc::downgrade(self), generation, attempt));
    }

    /// True if somebody was told a grant.
    fn hear(self: Arc<Inner>, push: PushInfo) -> bool {
        let PushInfo { kind: PushKind::Message, data } = push else { return false };
        let [_, Value::BulkString(message)] = data.as_slice() else { return false };
        match Push::read(message) {
            Some(Push::Revoked(claim)) => self.tell(Notice::Revoked(claim)),
            Some(Push::Granted { claim, ask, counter, spare }) => {
                let floor = self.floor.load(Ordering::Acquire);
                match Token::new(0, counter).filter(|token| token.counter() >= floor) {
                    Some(token) => {
                        self.book().left_queue(claim, ask);
                        self.stands(claim, HoldState::Held, Some(token));
                        self.tell(Notice::Granted(Grant { claim, token, spare, bound: Bound::FromAsk(ask) }));
                        return true;
                    }
                    // Not a grant: the store has lost its counter. Once that is raised, the waiter asks again.
                    None => self.world.clone().spawn(self.raise_and_ask_again(claim)),
                }
            }
            None => {}
        }
        false
    }

    async fn raise_and_ask_again(self: Arc<Inner>, claim: leasehold_core::ClaimId) {
        if let Ok(link) = self.driver() {
            // Where it fails, the answer to the next ask finds it out.
            let _ = self.raise(&link, self.world.now() + CONNECT).await;
        }
        let known = self.book().known(claim);
        if let Some((resource, _)) = known {
            self.tell(Notice::AskAgain(resource));
        }
    }

    /// Raises the counter to the server's clock, and the floor to what it is then. `Err(Ok(behind))` if that is below the
    /// floor by so much.
    pub(super) async fn raise(&self, link: &Link, io_deadline: Instant) -> Result<(), Result<Duration, Fault>> {
        let reply = link.call(&raise(&self.target.space), io_deadline).await.map_err(Err)?;
        let counter = leasehold_wire::counter(reply).map_err(|malformed| Err(malformed.into()))?;
        let floor = self.floor.fetch_max(counter, Ordering::AcqRel);
        if counter < floor { Err(Ok(Duration::from_micros(floor - counter))) } else { Ok(()) }
    }

    pub(super) fn tell(&self, notice: Notice) {
        self.ear.tell(notice);
    }

    /// The store said how a claim stands.
    pub(super) fn stands(&self, claim: leasehold_core::ClaimId, state: HoldState, token: Option<Token>) {
        if self.book().stands(claim, state, token, self.world.now()) {
            self.registry.notify_one();
        }
    }

    /// A claim neither holds nor waits.
    pub(super) fn over(&self, claim: leasehold_core::ClaimId) {
        if self.book().over(claim) {
            self.registry.notify_one();
        }
    }

    /// Sends releases by the driver's connection whose own turned out to be dead.
    pub(super) fn rescue(self: &Arc<Inner>, rescues: Vec<Rescue>) {
        for Rescue { call, verdict } in rescues {
            let inner = self.clone();
            self.world.spawn(async move {
                let io_deadline = inner.world.now() + CONNECT;
                let answer = match inner.driver() {
                    Ok(link) => link.call(&call, io_deadline).await.map(|reply| [reply].into_iter().collect()),
                    Err(_) => Err(Fault::Late),
                };
                let _ = verdict.send(answer);
            });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ledger.nudge();
    }
}
