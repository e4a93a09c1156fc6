//! The contract between the library and a store: five verbs and a listener for notices.

use crate::error::Error;
use crate::world::World;
use leasehold_core::{
    Ask, ClaimId, ClaimReply, Grant, Instant, Manner, ReleaseReply, RenewReply, ReqNo, ResourceName, Terms, Token, Want,
};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The future of one verb.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'static>>;

/// Takes claims to one store and brings back its evidence.
///
/// # Contract
///
/// **Atomicity.** Each verb takes effect at one instant of the store, or not at all.
///
/// **Settle first.** Every verb that writes first settles the resource's record at the store's now: it ends leases that ran
/// out, drops places that ran out, never grants to a place with less than its `place_margin` left, then grants in arrival
/// order to the longest prefix of claims that fits. [`leasehold_core::Table`] is the reference.
///
/// **Whose clock.** Only the store's clock, or a span measured on one client's clock. A client's wall time never decides.
///
/// **Idempotence.** `claim` is idempotent per claim id: a repeat refreshes the lease or the place and never shortens it; a
/// repeat by the owner is granted again, with a new token and the full ttl. A claim of an id that the record marks as
/// released or revoked is [`ClaimReply::Stale`]. `release` is idempotent and also withdraws a waiter. `renew` never acquires
/// and never revives.
///
/// **A release goes out behind every unanswered claim of its id**, on each connection that carried one. If such a connection
/// is gone, the release goes out on the next one.
///
/// **Nothing is repeated inside.** An engine sends each call at most once, but for answers that say that nothing was executed
/// (such as `NOSCRIPT`). A timeout, a reset or a dropped future is an unknown outcome, and the caller asks again.
///
/// **Any thread, any runtime.** A verb's future may be polled on any runtime or none, and may be dropped at any await. It
/// uses no timer and opens no socket of the polling thread's runtime; work of its own goes to the [`World`](crate::world::World)
/// that the engine was given. It ends by itself soon after `io_deadline`; the caller does not wait that long.
///
/// **Notices are hints about when to look, but a [`Notice::Granted`] is evidence.** They may be late, doubled or never come.
///
/// **Tokens** are unique and larger than that of every grant that the store made before, across all resources.
pub trait Engine: Send + Sync + fmt::Debug {
    /// What this engine can give.
    fn capabilities(&self) -> Capabilities;

    /// Asks for the permits; a waiter's repeat is its heartbeat.
    fn claim(&self, call: ClaimCall) -> Answer<ClaimReply>;

    /// Lengthens a held lease to the full ttl from the store's now. Never acquires, never revives.
    fn renew(&self, call: RenewCall) -> Answer<RenewReply>;

    /// Gives a hold or a place back, or takes it away.
    fn release(&self, call: ReleaseCall) -> Answer<ReleaseReply>;

    /// Reads who holds and who waits. Writes nothing.
    fn inspect(&self, resource: ResourceName, io_deadline: Instant) -> Answer<Inspection>;

    /// Reads every resource that a client of Leasehold holds or waits for, without scanning foreign keys, sorted by name.
    fn list(&self, io_deadline: Instant) -> Answer<Vec<Inspection>>;

    /// Tells `listener` every notice from here on, in place of the listener before. Called by the driver before anything else.
    ///
    /// It is called on whichever thread hears of something, so that a grant reaches its waiter without a hop to another; it
    /// does not block, and calls no verb before it returns.
    fn listen(&self, listener: Listener);

    /// Says goodbye: removes what the store keeps about this client, closes connections. Holds are not touched.
    fn close(&self) -> Answer<()>;
}

/// What an engine can give; each field is a row of `docs/guarantees.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The engine's name, for errors: `redis`.
    pub name: &'static str,
    /// Who can share a lock through this store.
    pub reach: Reach,
    /// Waiters are queued and served in arrival order.
    pub queue: bool,
    /// More than one permit per resource.
    pub permits: bool,
    /// A grant to a waiter is pushed to it, rather than found by its next beat.
    pub push: bool,
}

impl Capabilities {
    /// Capabilities of an engine with this name and reach, all else false.
    pub const fn new(name: &'static str, reach: Reach) -> Capabilities {
        Capabilities { name, reach, queue: false, permits: false, push: false }
    }
}

/// Who can share a lock through a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Tasks and threads of one process.
    Process,
    /// Processes of one host.
    Host,
    /// Processes of many hosts.
    Network,
}

/// Which way a call travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// By the connection that belongs to the caller's runtime.
    Caller,
    /// By the driver thread's own connection.
    Driver,
}

/// A claim on its way to the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimCall {
    /// What is claimed.
    pub resource: ResourceName,
    /// By which attempt.
    pub claim: ClaimId,
    /// How much of it.
    pub want: Want,
    /// On which terms.
    pub terms: Terms,
    /// How it is asked for.
    pub ask: Ask,
    /// Which way the call travels.
    pub route: Route,
    /// When the caller stops waiting for the answer.
    pub io_deadline: Instant,
}

impl ClaimCall {
    /// A first ask that does not wait, by the driver's way and without a deadline; the fields say otherwise where it matters.
    pub fn new(resource: ResourceName, claim: ClaimId, want: Want, terms: Terms) -> ClaimCall {
        let ask = Ask { no: ReqNo(1), first: true, wait: false, spare: 0 };
        ClaimCall { resource, claim, want, terms, ask, route: Route::Driver, io_deadline: Instant::FAR }
    }
}

/// A renewal on its way to the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RenewCall {
    /// Of which resource.
    pub resource: ResourceName,
    /// By which holder.
    pub claim: ClaimId,
    /// How much it holds.
    pub want: Want,
    /// On which terms.
    pub terms: Terms,
    /// True if the hold is to outlive its client: the store's record says so before the call is answered.
    pub detached: bool,
    /// How many tokens to set aside for the holder.
    pub tokens: u32,
    /// When the caller stops waiting for the answer.
    pub io_deadline: Instant,
}

impl RenewCall {
    /// A renewal of a hold that ends with its client, without tokens or a deadline.
    pub fn new(resource: ResourceName, claim: ClaimId, want: Want, terms: Terms) -> RenewCall {
        RenewCall { resource, claim, want, terms, detached: false, tokens: 0, io_deadline: Instant::FAR }
    }
}

/// A release on its way to the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReleaseCall {
    /// Of which resource.
    pub resource: ResourceName,
    /// Of which claim.
    pub claim: ClaimId,
    /// By whom, and how.
    pub manner: Manner,
    /// Which way the call travels.
    pub route: Route,
    /// When the caller stops waiting for the answer.
    pub io_deadline: Instant,
}

impl ReleaseCall {
    /// A release by the driver's way, without a deadline.
    pub fn new(resource: ResourceName, claim: ClaimId, manner: Manner) -> ReleaseCall {
        ReleaseCall { resource, claim, manner, route: Route::Driver, io_deadline: Instant::FAR }
    }
}

/// What a store says unasked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The resource's record may have changed: its waiters ask again.
    AskAgain(ResourceName),
    /// A waiter holds now.
    Granted(Grant),
    /// The link to the store is gone.
    LinkDown,
    /// The link to the store is (again) there: every waiter asks again, since pushes may have been missed.
    LinkUp,
    /// An operator took the hold away.
    Revoked(ClaimId),
}

/// Whom an engine tells its notices.
pub type Listener = Arc<dyn Fn(Notice) + Send + Sync>;

/// The engine's side of [`Engine::listen`]: a place for one listener. Clones are the same place.
///
/// What is told before there is a listener waits for the first one.
#[derive(Clone, Default)]
pub struct Ear {
    place: Arc<Mutex<Place>>,
}

#[derive(Default)]
struct Place {
    listener: Option<Listener>,
    early: Vec<Notice>,
}

impl Ear {
    /// The driver listens at once; more than this would be of no use to anybody.
    const MOST_EARLY: usize = 64;

    /// Takes a listener, in place of the one before.
    pub fn listen(&self, listener: Listener) {
        let early = {
            let mut place = self.lock();
            place.listener = Some(Arc::clone(&listener));
            std::mem::take(&mut place.early)
        };
        early.into_iter().for_each(|notice| listener(notice));
    }

    /// Tells whoever listens.
    pub fn tell(&self, notice: Notice) {
        let mut place = self.lock();
        let Some(listener) = place.listener.clone() else {
            if place.early.len() < Self::MOST_EARLY {
                place.early.push(notice);
            }
            return;
        };
        // Not under the lock: a listener may do what tells something else.
        drop(place);
        listener(notice);
    }

    /// Forgets the listener.
    pub fn close(&self) {
        *self.lock() = Place::default();
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ear")
    }
}

/// The client as others see it in `list` and `inspect`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct About {
    /// Name of its host.
    pub host: String,
    /// Id of its process on that host.
    pub pid: u32,
    /// Name of its program.
    pub program: String,
    /// What its user calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl About {
    /// This process.
    pub fn this_process(label: Option<String>) -> About {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let path = std::env::current_exe().ok();
        let program = path.as_deref().and_then(|path| path.file_name()).unwrap_or_default();
        About { host, pid: std::process::id(), program: program.to_string_lossy().into_owned(), label }
    }
}

/// What an engine gets to live with: clock and threads, the client's half of every claim id, and how others see the client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// Clock, timers, threads, chance.
    pub world: World,
    /// The client's half of every claim id.
    pub client: u64,
    /// The client as others see it.
    pub about: About,
}

/// Who holds a resource and who waits for it, at one instant of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The resource.
    pub resource: ResourceName,
    /// Those who hold it.
    pub holders: Vec<Party>,
    /// Those who wait for it, first in line first.
    pub waiters: Vec<Party>,
}

impl Inspection {
    /// A resource that nobody holds or waits for.
    pub fn free(resource: ResourceName) -> Inspection {
        Inspection { resource, holders: Vec::new(), waiters: Vec::new() }
    }
}

/// A holder or a waiter, as far as the store knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Party {
    /// Its claim; `None` if the record is a foreign client's.
    pub claim: Option<ClaimId>,
    /// The record of a foreign client, as text.
    pub foreign: Option<String>,
    /// The token of its grant, if it holds and the store remembers.
    pub token: Option<Token>,
    /// How long it has held or waited.
    pub since: Option<Duration>,
    /// What is left of its lease or its place; `None` if it has no end.
    pub lease_left: Option<Duration>,
    /// Its client, if the store knows.
    pub about: Option<About>,
    /// What the record says of it besides.
    pub state: PartyState,
}

/// What a record says of a holder or waiter besides that it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PartyState {
    /// An ordinary holder or waiter.
    #[default]
    Live,
    /// A holder that outlives its client and is renewed or released by its claim.
    Detached,
    /// The holder is gone, and others are kept out for a while (`min_hold`, `lock_delay`).
    Ghost,
    /// An operator took the hold away; it ends with its release or its old lease.
    Revoked,
}
