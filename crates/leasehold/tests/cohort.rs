//! Tasks of one client that want the same: one claim in the store, one line, and a hold that is passed along it.
#![cfg(all(feature = "redis", feature = "sqlite"))]

mod support;
#[path = "cohort/trouble.rs"]
mod trouble;

use futures_util::FutureExt;
use futures_util::future::join_all;
use leasehold::engines::memory::MemoryStore;
use leasehold::{
    Client, ErrorKind, Failure, Guard, GuardState, Mutex, Observed, Observer, Released, Renewal, ResourceName, What,
};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longer than anything takes that comes at all.
const SOON: Duration = Duration::from_secs(30);

/// Each scene is played on every engine, by clients of one store.
macro_rules! scenes {
    ($($scene:ident),* $(,)?) => {
        mod memory {
            $(#[test]
            fn $scene() {
                static STORES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
                let n = STORES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                crate::play(crate::$scene(&format!("memory:{}{n}", stringify!($scene))));
            })*
        }
        mod sqlite {
            $(#[test]
            fn $scene() {
                let database = crate::support::sqlite::open();
                crate::play(crate::$scene(&database.url()));
            })*
        }
        mod redis {
            $(#[test]
            fn $scene() {
                let server = crate::support::redis::RedisServer::start();
                crate::play(crate::$scene(&server.url()));
            })*
        }
    };
}

scenes! {
    a_hold_is_passed_along_the_line_in_order,
    a_whole_line_is_one_waiter_in_the_store,
    without_a_cohort_each_is_a_waiter_in_the_store,
    other_terms_are_another_cohort,
    processes_and_tasks_never_hold_at_once_and_take_turns,
    whoever_leaves_the_line_takes_no_grant_along,
    a_grant_that_nobody_takes_goes_to_the_next,
    a_wait_in_line_ends_in_time,
    a_try_is_refused_while_a_task_holds,
    a_fixed_lease_begins_anew_with_each_hand_off,
    min_hold_keeps_the_line_out_too,
    a_detached_hold_is_not_passed_on,
    a_revoked_hold_is_lost_to_its_holder_and_the_line_asks_anew,
    a_shutdown_ends_the_line,
    a_shutdown_is_no_fault_of_the_store,
    every_attempt_is_seen_to_its_end,
    a_lock_that_is_free_wakes_its_task_once_to_acquire_and_once_to_release,
}

fn play(scene: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { timeout(SOON * 2, scene).await.expect("a scene comes to its end") });
}

async fn client(url: &str) -> Client {
    Client::connect(url).await.unwrap()
}

fn lock(client: &Client) -> Mutex {
    client.mutex("a").unwrap()
}

/// A task that stands in line, behind all that were there before.
async fn in_line(lock: Mutex) -> JoinHandle<Guard> {
    let (stands, standing) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut acquire = Box::pin(lock.acquire());
        // Whoever is first in line asks at once, and may be answered at once.
        let at_once = (&mut acquire).now_or_never();
        stands.send(()).unwrap();
        match at_once {
            Some(guard) => guard.unwrap(),
            None => acquire.await.unwrap(),
        }
    });
    standing.await.unwrap();
    task
}

async fn got(task: JoinHandle<Guard>) -> Guard {
    timeout(SOON, task).await.expect("whoever stands in line is granted").unwrap()
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if condition().await {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}

async fn waiters(looker: &Client, count: usize) {
    until("the line in the store", async || looker.inspect("a").await.unwrap().waiters.len() == count).await;
}

async fn nothing_left(looker: &Client) {
    until("an empty store", async || looker.list().await.unwrap().is_empty()).await;
}

async fn a_hold_is_passed_along_the_line_in_order(url: &str) {
    let (one, other) = (client(url).await, client(url).await);
    let mut held = lock(&one).acquire().await.unwrap();
    let claim = held.claim();
    let mut line = Vec::new();
    for _ in 0..40 {
        line.push(in_line(lock(&one)).await);
    }
    let mut same_claim = 0;
    for next in line {
        let before = held.token();
        assert_eq!(held.release().await.unwrap(), Released::Released);
        held = got(next).await;
        assert!(held.token() > before, "each hold has a larger token than the one before");
        assert_eq!(held.state(), GuardState::Held);
        same_claim += usize::from(held.claim() == claim);
        let seen = other.inspect("a").await.unwrap();
        assert_eq!(seen.holders[0].claim, Some(held.claim()), "the store knows by which claim it is held");
    }
    assert!(same_claim >= 16, "a tenure has sixteen hand-offs at least: {same_claim}");
    let last = held.token();
    held.release().await.unwrap();
    let next = lock(&other).acquire().await.unwrap();
    assert!(next.token() > last, "a later grant of the store has a larger token than all of the process");
    next.release().await.unwrap();
    nothing_left(&other).await;
}

async fn a_whole_line_is_one_waiter_in_the_store(url: &str) {
    let (one, other) = (client(url).await, client(url).await);
    let held = lock(&other).acquire().await.unwrap();
    let mut line = Vec::new();
    for _ in 0..20 {
        line.push(in_line(lock(&one)).await);
    }
    waiters(&other, 1).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(other.inspect("a").await.unwrap().waiters.len(), 1);
    held.release().await.unwrap();
    for next in line {
        got(next).await.release().await.unwrap();
    }
    nothing_left(&other).await;
}

async fn without_a_cohort_each_is_a_waiter_in_the_store(url: &str) {
    let one = client(url).await;
    let held = lock(&one).acquire().await.unwrap();
    let line: Vec<_> = join_all((0..5).map(|_| in_line(lock(&one).cohort(false)))).await;
    waiters(&one, 5).await;
    held.release().await.unwrap();
    let all = line.into_iter().map(|next| async { got(next).await.release().await.unwrap() });
    assert_eq!(join_all(all).await.len(), 5);
    nothing_left(&one).await;
}

async fn other_terms_are_another_cohort(url: &str) {
    let (one, other) = (client(url).await, client(url).await);
    let held = lock(&other).acquire().await.unwrap();
    let mut line = Vec::new();
    for _ in 0..3 {
        line.push(in_line(lock(&one)).await);
        line.push(in_line(lock(&one).ttl(Duration::from_secs(20))).await);
    }
    waiters(&other, 2).await;
    held.release().await.unwrap();
    // Which of the two came first to the store is not said; one after the other they are all granted.
    let all = line.into_iter().map(|next| async { got(next).await.release().await.unwrap() });
    assert_eq!(join_all(all).await.len(), 6);
    nothing_left(&other).await;
}

/// Who holds now, and the largest token so far: what a resource would see.
#[derive(Default)]
struct Resource {
    inside: AtomicUsize,
    token: AtomicU64,
}

impl Resource {
    async fn used_under(&self, guard: &Guard) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two hold at once");
        let before = self.token.swap(guard.token().as_u64(), Ordering::SeqCst);
        assert!(before < guard.token().as_u64(), "tokens rise: {before}, then {}", guard.token());
        tokio::task::yield_now().await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn processes_and_tasks_never_hold_at_once_and_take_turns(url: &str) {
    let resource = Arc::new(Resource::default());
    let clients = [client(url).await, client(url).await, client(url).await];
    let turns: Vec<_> = clients.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let until = std::time::Instant::now() + Duration::from_millis(1_500);
    let mut tasks = Vec::new();
    for (client, turns) in clients.iter().zip(&turns) {
        for _ in 0..8 {
            let (lock, resource, turns) = (lock(client), Arc::clone(&resource), Arc::clone(turns));
            tasks.push(tokio::spawn(async move {
                while std::time::Instant::now() < until {
                    let guard = lock.acquire().await.unwrap();
                    resource.used_under(&guard).await;
                    turns.fetch_add(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            }));
        }
    }
    for task in tasks {
        timeout(SOON, task).await.unwrap().unwrap();
    }
    let turns: Vec<_> = turns.iter().map(|turns| turns.load(Ordering::SeqCst)).collect();
    let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
    assert!(least * 3 >= *most, "no process is left behind: {turns:?}");
    nothing_left(&clients[0]).await;
}

async fn whoever_leaves_the_line_takes_no_grant_along(url: &str) {
    let resource = Arc::new(Resource::default());
    let clients = [client(url).await, client(url).await];
    let mut tasks = Vec::new();
    for n in 0..16u64 {
        let (lock, resource) = (lock(&clients[n as usize % 2]), Arc::clone(&resource));
        tasks.push(tokio::spawn(async move {
            for round in 0..60u64 {
                let patience = Duration::from_micros((n * 7 + round * 13) % 40 * 50);
                if let Ok(guard) = timeout(patience, lock.acquire()).await {
                    let guard = guard.unwrap();
                    resource.used_under(&guard).await;
                    if round % 2 == 0 {
                        guard.release().await.unwrap();
                    }
                }
            }
        }));
    }
    for task in tasks {
        timeout(SOON, task).await.unwrap().unwrap();
    }
    let guard = timeout(SOON, lock(&clients[0]).acquire()).await.expect("the lock is free in the end").unwrap();
    resource.used_under(&guard).await;
    guard.release().await.unwrap();
    nothing_left(&clients[1]).await;
}

async fn a_grant_that_nobody_takes_goes_to_the_next(url: &str) {
    let one = client(url).await;
    let held = lock(&one).acquire().await.unwrap();
    let second = lock(&one);
    let mut acquire = Box::pin(second.acquire());
    assert!((&mut acquire).now_or_never().is_none(), "it is held");
    let third = in_line(lock(&one)).await;
    held.release().await.unwrap();
    // The second has been granted by now, or will be; it never looks.
    sleep(Duration::from_millis(100)).await;
    assert!(!third.is_finished());
    drop(acquire);
    got(third).await.release().await.unwrap();
    nothing_left(&one).await;
}

async fn a_wait_in_line_ends_in_time(url: &str) {
    let one = client(url).await;
    let held = lock(&one).acquire().await.unwrap();
    let patient = in_line(lock(&one)).await;
    let begun = std::time::Instant::now();
    let none = timeout(SOON, lock(&one).acquire_timeout(Duration::from_millis(80))).await.unwrap().unwrap();
    assert!(none.is_none());
    assert!(begun.elapsed() >= Duration::from_millis(80));
    held.release().await.unwrap();
    let held = got(patient).await;
    let lock = lock(&one);
    let soon = lock.acquire_timeout(SOON);
    let (soon, _) = tokio::join!(soon, async {
        sleep(Duration::from_millis(30)).await;
        held.release().await.unwrap();
    });
    soon.unwrap().expect("it is granted in time").release().await.unwrap();
    nothing_left(&one).await;
}

async fn a_try_is_refused_while_a_task_holds(url: &str) {
    let one = client(url).await;
    let held = lock(&one).acquire().await.unwrap();
    assert!(lock(&one).try_acquire().await.unwrap().is_none());
    held.release().await.unwrap();
    let tried = lock(&one).try_acquire().await.unwrap().expect("it is free");
    let waits = in_line(lock(&one)).await;
    tried.release().await.unwrap();
    got(waits).await.release().await.unwrap();
    nothing_left(&one).await;
}

async fn a_fixed_lease_begins_anew_with_each_hand_off(url: &str) {
    let one = client(url).await;
    let ttl = Duration::from_secs(20);
    let fixed = || lock(&one).ttl(ttl).renew(Renewal::Off);
    let mut held = fixed().acquire().await.unwrap();
    for _ in 0..3 {
        let next = in_line(fixed()).await;
        let before = held.deadline();
        sleep(Duration::from_millis(20)).await;
        assert_eq!(held.deadline(), before, "a fixed lease is not renewed under its holder");
        held.release().await.unwrap();
        held = got(next).await;
        assert!(held.deadline() >= before + Duration::from_millis(15), "each has its own");
    }
    held.release().await.unwrap();
    nothing_left(&one).await;
}

async fn min_hold_keeps_the_line_out_too(url: &str) {
    let one = client(url).await;
    let min_hold = Duration::from_millis(400);
    let brief = || lock(&one).min_hold(min_hold);
    let begun = std::time::Instant::now();
    let held = brief().acquire().await.unwrap();
    let next = in_line(brief()).await;
    held.release().await.unwrap();
    let next = got(next).await;
    assert!(begun.elapsed() >= min_hold, "{:?}", begun.elapsed());
    drop(next);
}

async fn a_detached_hold_is_not_passed_on(url: &str) {
    let (one, other) = (client(url).await, client(url).await);
    let held = lock(&one).acquire().await.unwrap();
    let next = in_line(lock(&one)).await;
    let detached = held.detach().await.unwrap();
    waiters(&other, 1).await;
    assert!(!next.is_finished());
    let claimed = other.claimed("a", detached.claim).unwrap();
    assert_eq!(claimed.release().await.unwrap(), Released::Released);
    let next = got(next).await;
    assert!(next.token() > detached.token);
    next.release().await.unwrap();
    nothing_left(&other).await;
}

async fn a_revoked_hold_is_lost_to_its_holder_and_the_line_asks_anew(url: &str) {
    let (one, other) = (client(url).await, client(url).await);
    let first = lock(&one).acquire().await.unwrap();
    let (passed, cancelled) = (Arc::new(AtomicUsize::new(0)), first.cancellation_token());
    let seen = Arc::clone(&passed);
    first.on_lost(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    let second = in_line(lock(&one)).await;
    let third = in_line(lock(&one)).await;
    first.release().await.unwrap();
    let second = got(second).await;
    assert_eq!(other.revoke("a", false).await.unwrap(), 1);
    timeout(SOON, second.lost()).await.unwrap();
    assert!(second.cancellation_token().is_cancelled());
    assert!(!third.is_finished(), "the next waits for the release of who lost it");
    let lost = second.token();
    drop(second);
    let third = got(third).await;
    assert!(third.token() > lost);
    third.release().await.unwrap();
    assert_eq!(passed.load(Ordering::SeqCst), 0, "who gave its hold back lost nothing");
    assert!(!cancelled.is_cancelled());
    nothing_left(&other).await;
}

async fn a_shutdown_ends_the_line(url: &str) {
    let (one, other) = (client(url).await, client(url).await);
    let held = lock(&one).acquire().await.unwrap();
    let waits = join_all((0..4).map(|_| impatient(lock(&one), SOON))).await;
    one.shutdown().await;
    for wait in waits {
        assert_eq!(timeout(SOON, wait).await.unwrap().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(held.state(), GuardState::Released);
    nothing_left(&other).await;
}

/// Counts what it sees, by kind.
#[derive(Default)]
struct Counts {
    attempts: AtomicUsize,
    grants: AtomicUsize,
    refusals: AtomicUsize,
    cancelled: AtomicUsize,
    releases: AtomicUsize,
}

impl Observer for Counts {
    fn saw(&self, event: &Observed) {
        let count = match &event.what {
            What::Attempt => &self.attempts,
            What::Granted(_) => &self.grants,
            What::Failed(Failure::TimedOut) => &self.refusals,
            What::Failed(Failure::Cancelled) => &self.cancelled,
            What::Released(_) => &self.releases,
            _ => return,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

async fn every_attempt_is_seen_to_its_end(url: &str) {
    let counts = Arc::new(Counts::default());
    let one = Client::builder().observer(Arc::clone(&counts) as Arc<dyn Observer>).connect(url).await.unwrap();
    let held = lock(&one).acquire().await.unwrap();
    let mut line = Vec::new();
    for _ in 0..20 {
        line.push(in_line(lock(&one)).await);
    }
    assert!(lock(&one).acquire_timeout(Duration::from_millis(50)).await.unwrap().is_none());
    assert!(timeout(Duration::from_millis(50), lock(&one).acquire()).await.is_err());
    held.release().await.unwrap();
    for next in line {
        got(next).await.release().await.unwrap();
    }
    let seen = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    let all = || [&counts.attempts, &counts.grants, &counts.refusals, &counts.cancelled, &counts.releases].map(seen);
    until("every event", async || all() == [23, 21, 1, 1, 21]).await;
    nothing_left(&one).await;
    assert_eq!(all(), [23, 21, 1, 1, 21], "attempts, grants, refusals, cancelled, releases");
}

async fn a_shutdown_is_no_fault_of_the_store(url: &str) {
    let counts = Arc::new(Counts::default());
    let one = Client::builder().observer(Arc::clone(&counts) as Arc<dyn Observer>).connect(url).await.unwrap();
    let other = client(url).await;
    let held = lock(&one).acquire().await.unwrap();
    let waits = join_all((0..4).map(|_| impatient(lock(&one), SOON))).await;
    let alone = impatient(lock(&one).cohort(false), SOON).await;
    until("the fifth to ask", async || !other.inspect("a").await.unwrap().waiters.is_empty()).await;
    one.shutdown().await;
    let seen = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    until("every end", async || [&counts.attempts, &counts.grants, &counts.cancelled].map(seen) == [6, 1, 5]).await;
    drop((held, waits, alone));
}

/// Counts how often a future is polled: once at first, then each time that it was woken.
async fn polls<T>(future: impl Future<Output = T>) -> (T, usize) {
    let (mut future, mut polls) = (std::pin::pin!(future), 0);
    let output = std::future::poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    });
    (output.await, polls)
}

async fn a_lock_that_is_free_wakes_its_task_once_to_acquire_and_once_to_release(url: &str) {
    let lock = lock(&client(url).await);
    // A poll more is a task that goes once round the scheduler for nothing, and wakes another worker on its way.
    let mut most = (0, 0);
    for _ in 0..20 {
        let (guard, acquired) = polls(lock.acquire()).await;
        let (released, given_back) = polls(guard.unwrap().release()).await;
        assert_eq!(released.unwrap(), Released::Released);
        most = (most.0.max(acquired), most.1.max(given_back));
    }
    assert!(most.0 <= 2 && most.1 <= 2, "polled {} times to acquire and {} times to release", most.0, most.1);
}

/// A client of a store that can be stopped.
async fn client_of(store: &MemoryStore) -> Client {
    let engine = store.clone();
    let connect =
        |context: leasehold::engine::Context| async move { Ok(engine.engine(&context.world, context.client, context.about)) };
    Client::builder().connect_with(connect).await.unwrap()
}

/// A wait in line that ends after `patience`: what it comes to.
async fn impatient(lock: Mutex, patience: Duration) -> JoinHandle<Result<Option<Guard>, leasehold::Error>> {
    let (stands, standing) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut acquire = Box::pin(lock.acquire_timeout(patience));
        assert!((&mut acquire).now_or_never().is_none());
        stands.send(()).unwrap();
        acquire.await
    });
    standing.await.unwrap();
    task
}

#[test]
fn a_wait_that_ends_as_the_line_asks_anew_says_that_others_held() {
    play(async {
        let store = MemoryStore::new();
        let one = client_of(&store).await;
        // The hold of whoever is brief goes back to the store, and the line asks anew.
        let kept = || lock(&one).min_hold(SOON);
        let held = kept().acquire().await.unwrap();
        let waits = impatient(kept(), Duration::from_millis(400)).await;
        store.freeze();
        drop(held);
        assert!(timeout(SOON, waits).await.unwrap().unwrap().unwrap().is_none());
        store.thaw();
    });
}

#[test]
fn a_wait_that_ends_while_the_store_is_down_says_so() {
    play(async {
        let store = MemoryStore::new();
        let one = client_of(&store).await;
        let brief = || lock(&one).ttl(Duration::from_millis(800));
        let kind = |answer: Result<Option<Guard>, leasehold::Error>| answer.unwrap_err().kind();
        // Nobody holds, and the line asks anew.
        let held = brief().acquire().await.unwrap();
        let waits = impatient(brief(), Duration::from_millis(1_500)).await;
        store.freeze();
        assert_eq!(kind(timeout(SOON, waits).await.unwrap().unwrap()), ErrorKind::Unavailable);
        store.thaw();
        drop(held);
        // A hold is to be passed on, and the store gives no token for it.
        let held = lock(&one).acquire().await.unwrap();
        store.fail(Some(leasehold::Error::unavailable("the store is loading")));
        let waits = impatient(lock(&one), Duration::from_millis(400)).await;
        drop(held);
        assert_eq!(kind(timeout(SOON, waits).await.unwrap().unwrap()), ErrorKind::Unavailable);
        // Nobody has ever held.
        let waits = impatient(lock(&one).ttl(Duration::from_secs(20)), Duration::from_millis(50)).await;
        assert_eq!(kind(timeout(SOON, waits).await.unwrap().unwrap()), ErrorKind::Unavailable);
        store.fail(None);
    });
}

#[test]
fn a_hold_that_ran_out_is_not_passed_on() {
    play(async {
        let store = MemoryStore::new();
        let one = client_of(&store).await;
        let brief = || lock(&one).ttl(Duration::from_millis(600));
        let held = brief().acquire().await.unwrap();
        let next = in_line(brief()).await;
        store.freeze();
        timeout(SOON, held.lost()).await.unwrap();
        let late = held.token();
        assert!(!next.is_finished());
        store.thaw();
        assert_ne!(held.release().await.unwrap(), Released::Released);
        let next = got(next).await;
        assert!(next.token() > late && next.state() == GuardState::Held);
        // What ends in the store behind the holder's back is lost to the holder, and the line goes on.
        let third = in_line(brief()).await;
        store.expire(&ResourceName::new("a").unwrap());
        timeout(SOON, next.lost()).await.unwrap();
        assert!(got(third).await.token() > next.token());
    });
}

/// What a server is asked for, but for registries and the library's own looks.
fn requests(server: &support::redis::RedisServer) -> u64 {
    let stats: String = server.query(&["INFO", "commandstats"]);
    let calls = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")))?;
        line.split(',').next()?.parse::<u64>().ok()
    };
    ["exec", "evalsha", "eval"].into_iter().filter_map(calls).sum()
}

#[test]
fn a_line_of_sixteen_asks_the_store_once_in_eight_hand_offs_at_most() {
    let server = support::redis::RedisServer::start();
    play(async {
        let one = client(&server.url()).await;
        let before = requests(&server);
        let tasks = (0..16).map(|_| {
            let lock = lock(&one);
            tokio::spawn(async move {
                for _ in 0..250 {
                    lock.acquire().await.unwrap().release().await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            timeout(SOON, task).await.unwrap().unwrap();
        }
        let made = requests(&server) - before;
        // On a slow machine an answer may be too old, and the hold goes by way of the store.
        assert!(made <= 4_000 / 8, "{made} requests in 4000 cycles");
    });
}

#[test]
fn tokens_rise_along_a_line_whose_store_loses_its_counter() {
    let mut server = support::redis::RedisServer::start();
    let url = server.url();
    play(async {
        let (one, other) = (client(&url).await, client(&url).await);
        let counter = server.keys().into_iter().find(|key| key.contains("counter") || key.contains("token"));
        let mut last = 0;
        for round in 0..3 {
            let mut held = lock(&one).acquire().await.unwrap();
            let mut line = Vec::new();
            for _ in 0..30 {
                line.push(in_line(lock(&one)).await);
            }
            for next in line {
                match round {
                    0 => {
                        let _: i64 = server.query(&["DEL", counter.as_ref().expect("there is a counter")]);
                    }
                    1 => {
                        let _: String = server.query(&["FLUSHALL"]);
                    }
                    _ => {}
                }
                assert!(held.token().as_u64() > last, "round {round}");
                last = held.token().as_u64();
                let _ = held.release().await;
                held = got(next).await;
            }
            for client in [&one, &other] {
                assert!(held.token().as_u64() > last, "round {round}");
                last = held.token().as_u64();
                let _ = held.release().await;
                held = timeout(SOON, lock(client).acquire()).await.unwrap().unwrap();
            }
            held.release().await.unwrap();
            server.kill();
            server.restart();
        }
    });
}

#[test]
fn an_ask_ends_with_the_runtime_that_carried_it_and_the_line_asks_by_the_driver() {
    // An ask that nobody carries is given up after two seconds; a slow machine is asked again.
    let soon = (0..5).any(|_| wait_behind_a_runtime_that_ends() < Duration::from_millis(1_900));
    assert!(soon, "whoever waits behind it does not wait for its answer");
}

/// How long the second in line waits once the runtime of the first is gone, and with it the ask that both share.
fn wait_behind_a_runtime_that_ends() -> Duration {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (home, other) = (runtime(), runtime());
    let store = MemoryStore::new();
    let one = home.block_on(client_of(&store));
    store.freeze();
    // Its ask is on its way, and is everybody's.
    let first = home.block_on(in_line(lock(&one)));
    let second = other.block_on(in_line(lock(&one)));
    home.shutdown_timeout(SOON);
    assert!(first.is_finished());
    store.thaw();
    let begun = std::time::Instant::now();
    other.block_on(async {
        got(second).await.release().await.unwrap();
        nothing_left(&one).await;
    });
    begun.elapsed()
}
