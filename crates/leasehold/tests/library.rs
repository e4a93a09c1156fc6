//! What the library promises to its users, on the in-memory engine that can expire, freeze and fail on demand.

use leasehold::engine::{Answer, Capabilities, ClaimCall, Engine, Inspection, Listener, ReleaseCall, RenewCall};
use leasehold::engines::memory::MemoryStore;
use leasehold::{
    Client, Error, ErrorKind, GuardState, Instant, LostWhy, Observed, Observer, Owner, Released, Renewal, ResourceName, blocking,
};
use leasehold_core::{ClaimReply, ReleaseReply, RenewReply};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;

const TTL: Duration = Duration::from_millis(600);
const SOON: Duration = Duration::from_secs(20);

async fn client_of(store: &MemoryStore) -> Client {
    let store = store.clone();
    let engine =
        |context: leasehold::engine::Context| async move { Ok(store.engine(&context.world, context.client, context.about)) };
    Client::builder().connect_with(engine).await.unwrap()
}

async fn residue(client: &Client) -> usize {
    client.list().await.unwrap().len()
}

async fn nothing_left(client: &Client) {
    for _ in 0..200 {
        if residue(client).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("left behind: {:?}", client.list().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_acquired_refused_to_a_rival_and_released() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);

    let guard = one.mutex("order:1:pay").unwrap().try_acquire().await.unwrap().unwrap();
    assert_eq!(guard.state(), GuardState::Held);
    assert!(two.mutex("order:1:pay").unwrap().try_acquire().await.unwrap().is_none());
    let first = guard.token();
    assert_eq!(guard.release().await.unwrap(), Released::Released);

    let next = two.mutex("order:1:pay").unwrap().try_acquire().await.unwrap().unwrap();
    assert!(next.token() > first);
    drop(next);
    nothing_left(&one).await;
}

#[tokio::test]
async fn a_waiter_is_granted_at_the_release_and_a_wait_ends_in_time() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);
    let guard = one.mutex("a").unwrap().acquire().await.unwrap();

    let none = two.mutex("a").unwrap().acquire_timeout(Duration::from_millis(30)).await.unwrap();
    assert!(none.is_none());

    let lock = two.mutex("a").unwrap();
    let waiting = tokio::spawn(async move { lock.acquire().await });
    while one.inspect("a").await.unwrap().waiters.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    guard.release().await.unwrap();
    let got = timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(got.state(), GuardState::Held);
}

#[tokio::test]
async fn a_hold_is_renewed_for_many_ttls() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let guard = client.mutex("a").unwrap().ttl(Duration::from_secs(2)).acquire().await.unwrap();
    let first = guard.deadline();
    for _ in 0..3 {
        timeout(SOON, guard.changed()).await.unwrap();
    }
    assert!(guard.deadline() > first);
    assert_eq!(guard.state(), GuardState::Held);
}

#[tokio::test]
async fn a_frozen_store_cannot_keep_a_guard_from_telling_its_loss_in_time() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let guard = client.mutex("a").unwrap().ttl(TTL).acquire().await.unwrap();
    store.freeze();
    assert_eq!(timeout(SOON, guard.lost()).await.unwrap(), LostWhy::Expired);
    assert_eq!(guard.state(), GuardState::Lost);
    assert_eq!(guard.check(Duration::ZERO).unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(timeout(SOON, guard.release()).await.unwrap().unwrap(), Released::Expired);
    store.thaw();
    nothing_left(&client).await;
}

#[tokio::test]
async fn a_loss_in_the_store_is_told_at_the_next_renewal_and_a_stale_guard_cannot_hurt_its_successor() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);
    let guard = one.mutex("a").unwrap().ttl(Duration::from_secs(3)).acquire().await.unwrap();
    store.expire(guard.resource());
    let next = two.mutex("a").unwrap().try_acquire().await.unwrap().unwrap();
    assert_eq!(timeout(SOON, guard.lost()).await.unwrap(), LostWhy::Store);
    assert_eq!(guard.release().await.unwrap(), Released::Taken { by: Some(next.claim()) });
    assert_eq!(next.state(), GuardState::Held);
    assert_eq!(next.release().await.unwrap(), Released::Released);
}

#[tokio::test]
async fn a_store_that_lost_the_record_is_reported_as_gone() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let guard = client.mutex("a").unwrap().acquire().await.unwrap();
    store.expire(guard.resource());
    assert_eq!(guard.release().await.unwrap(), Released::Gone);
}

#[tokio::test]
async fn renewals_that_fail_end_in_doubt_and_recover_when_they_come_through() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let guard = client.mutex("a").unwrap().ttl(Duration::from_secs(3)).acquire().await.unwrap();
    store.fail(Some(Error::unavailable("the store is loading")));
    while guard.state() != GuardState::InDoubt {
        assert_ne!(guard.state(), GuardState::Lost);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.fail(None);
    while guard.state() != GuardState::Held {
        assert_ne!(guard.state(), GuardState::Lost);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_fixed_lease_is_not_renewed_and_is_told_lost_at_its_end() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let guard = client.mutex("a").unwrap().ttl(TTL).renew(Renewal::Off).acquire().await.unwrap();
    let deadline = guard.deadline();
    assert_eq!(timeout(SOON, guard.lost()).await.unwrap(), LostWhy::Ended);
    assert_eq!(guard.deadline(), deadline);
}

#[tokio::test]
async fn max_hold_lets_the_lease_in_force_run_out() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let guard = client.mutex("a").unwrap().ttl(TTL).max_hold(Duration::from_millis(500)).acquire().await.unwrap();
    let first = guard.deadline();
    assert_eq!(timeout(SOON, guard.lost()).await.unwrap(), LostWhy::Ended);
    assert!(guard.deadline() > first, "it was renewed until then");
}

#[tokio::test]
async fn min_hold_keeps_others_out_after_a_short_job() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let lock = client.mutex("a").unwrap().min_hold(Duration::from_millis(400));
    assert_eq!(lock.acquire().await.unwrap().release().await.unwrap(), Released::Released);
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert!(timeout(SOON, lock.acquire()).await.unwrap().is_ok());
}

#[tokio::test]
async fn an_owner_enters_again_without_a_word_to_the_store() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let me = Owner::new();
    let lock = client.mutex("a").unwrap().owner(me);
    let outer = lock.acquire().await.unwrap();
    store.fail(Some(Error::unavailable("not to be asked")));
    let inner = lock.clone().ttl(TTL).acquire().await.unwrap();
    store.fail(None);
    assert_eq!(inner.token(), outer.token());
    assert_eq!(inner.release().await.unwrap(), Released::StillHeld(1));
    assert!(outer.remaining() > Duration::from_secs(10), "a nested shorter ttl does not shorten the outer one");
    assert!(client.mutex("a").unwrap().owner(Owner::new()).try_acquire().await.unwrap().is_none());
    assert_eq!(outer.release().await.unwrap(), Released::Released);
}

#[tokio::test]
async fn a_dropped_acquire_leaves_nothing_behind() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);
    let guard = one.mutex("a").unwrap().acquire().await.unwrap();
    for n in 0..50 {
        let lock = two.mutex("a").unwrap();
        let wait = async move { lock.acquire().await };
        assert!(timeout(Duration::from_micros(n * 100), wait).await.is_err());
    }
    guard.release().await.unwrap();
    nothing_left(&one).await;
}

#[tokio::test]
async fn work_is_dropped_when_the_lock_is_lost_and_its_result_returned_when_not() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let guard = client.mutex("a").unwrap().ttl(TTL).acquire().await.unwrap();
    assert_eq!(guard.run(async { 7 }).await.unwrap(), 7);
    let token = guard.cancellation_token();
    let (told, loss) = channel();
    guard.on_lost(move |why| told.send(why).unwrap());
    store.freeze();
    let error = timeout(SOON, guard.run(std::future::pending::<()>())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    timeout(SOON, token.cancelled()).await.unwrap();
    assert_eq!(loss.recv_timeout(SOON).unwrap(), LostWhy::Expired);
    store.thaw();
}

#[tokio::test]
async fn a_detached_hold_is_renewed_and_released_by_its_claim() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);
    let detached = one.mutex("a").unwrap().ttl(TTL).acquire().await.unwrap().detach().await.unwrap();
    one.shutdown().await;
    let claimed = two.claimed("a", detached.claim).unwrap();
    assert!(claimed.renew(Duration::from_secs(30)).await.unwrap().is_some());
    tokio::time::sleep(TTL).await;
    assert!(two.mutex("a").unwrap().try_acquire().await.unwrap().is_none());
    assert_eq!(claimed.release().await.unwrap(), Released::Released);
    assert_eq!(claimed.renew(TTL).await.unwrap(), None);
    assert!(two.mutex("a").unwrap().try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn a_revoked_holder_is_told_and_the_next_waits_for_its_release() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);
    let guard = one.mutex("a").unwrap().acquire().await.unwrap();
    assert_eq!(two.revoke("a", false).await.unwrap(), 1);
    assert_eq!(timeout(SOON, guard.lost()).await.unwrap(), LostWhy::Revoked);
    assert!(two.mutex("a").unwrap().try_acquire().await.unwrap().is_none());
    drop(guard);
    assert!(timeout(SOON, two.mutex("a").unwrap().acquire()).await.unwrap().is_ok());
}

#[tokio::test]
async fn bad_input_is_a_config_error_that_names_it() {
    let client = Client::connect("memory:").await.unwrap();
    assert_eq!(client.mutex("").unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(client.mutex("a\0b").unwrap_err().kind(), ErrorKind::Config);
    for ttl in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
        let error = client.mutex("a").unwrap().ttl(ttl).acquire().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("ttl"), "{error}");
    }
    for url in ["", "nonsense", "mongodb://user:secret@host"] {
        let error = Client::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!error.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error_at_once_for_a_try_and_at_the_end_for_a_wait() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    store.fail(Some(Error::unavailable("the store is loading")));
    let lock = client.mutex("a").unwrap();
    assert_eq!(lock.try_acquire().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = lock.acquire_timeout(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    store.fail(Some(Error::permission("no rights")));
    assert_eq!(timeout(SOON, lock.acquire()).await.unwrap().unwrap_err().kind(), ErrorKind::Permission);
    store.fail(None);
    store.freeze();
    let error = timeout(SOON, lock.acquire_timeout(Duration::from_millis(100))).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.outcome_unknown());
    store.thaw();
    nothing_left(&client).await;
}

#[test]
fn the_blocking_face_needs_no_runtime() {
    let client = blocking::Client::connect("memory:the-blocking-face").unwrap();
    let rival = blocking::Client::connect("memory:the-blocking-face").unwrap();
    let lock = client.mutex("a").unwrap().owner(Owner::current_thread());
    let guard = lock.acquire().unwrap();
    let again = lock.acquire().unwrap();
    assert_eq!(guard.token(), again.token());
    drop(again);
    assert!(rival.mutex("a").unwrap().acquire_timeout(Duration::from_millis(20)).unwrap().is_none());
    let waiting = std::thread::spawn(move || rival.mutex("a").unwrap().acquire().unwrap().token());
    assert_eq!(guard.state(), GuardState::Held);
    let token = guard.token();
    assert_eq!(guard.release().unwrap(), Released::Released);
    assert!(waiting.join().unwrap() > token);
    client.shutdown();
}

#[test]
fn a_loss_is_told_though_the_runtime_is_blocked() {
    let store = MemoryStore::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (told, loss) = channel();
    runtime.block_on(async {
        let client = client_of(&store).await;
        let guard = client.mutex("a").unwrap().ttl(TTL).acquire().await.unwrap();
        guard.on_lost(move |why| told.send(why).unwrap());
        store.freeze();
        // The one thread of the runtime is blocked here.
        assert_eq!(loss.recv_timeout(SOON).unwrap(), LostWhy::Expired);
        store.thaw();
    });
}

#[test]
fn a_blocked_runtime_loses_no_lock() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect("memory:").await.unwrap();
        let guard = client.mutex("a").unwrap().ttl(TTL).acquire().await.unwrap();
        std::thread::sleep(TTL * 3);
        assert_ne!(guard.state(), GuardState::Lost);
    });
}

#[tokio::test]
async fn the_last_handle_waits_for_its_releases() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let guard = client.mutex("a").unwrap().acquire().await.unwrap();
    drop(client);
    drop(guard);
    let other = client_of(&store).await;
    assert_eq!(residue(&other).await, 0);
}

#[tokio::test]
async fn a_shut_down_client_has_released_all_and_ended_its_waits() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);
    let guard = one.mutex("a").unwrap().cohort(false).acquire().await.unwrap();
    let lock = one.mutex("a").unwrap().cohort(false);
    let waiting = tokio::spawn(async move { lock.acquire().await });
    while two.inspect("a").await.unwrap().waiters.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    one.shutdown().await;
    assert_eq!(guard.state(), GuardState::Released);
    assert_eq!(timeout(SOON, waiting).await.unwrap().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(residue(&two).await, 0);
}

struct Recorder(Mutex<Sender<Observed>>);

impl Observer for Recorder {
    fn saw(&self, event: &Observed) {
        // The test may have ended.
        let _ = self.0.lock().unwrap().send(event.clone());
    }
}

#[tokio::test]
async fn an_observer_sees_attempt_grant_and_release_in_order() {
    let (sender, seen) = channel();
    let client = Client::builder().observer(Arc::new(Recorder(Mutex::new(sender)))).connect("memory:").await.unwrap();
    let lock = client.mutex("a").unwrap();
    let guard = lock.acquire().await.unwrap();
    assert!(lock.try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    let mut whats = Vec::new();
    for _ in 0..5 {
        whats.push(format!("{:?}", seen.recv_timeout(SOON).unwrap().what));
    }
    let kinds: Vec<_> = whats.iter().map(|what| what.split('(').next().unwrap()).collect();
    assert_eq!(kinds, ["Attempt", "Granted", "Attempt", "Failed", "Released"]);
}

#[tokio::test]
async fn what_is_acquired_after_a_shutdown_is_refused() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let lock = client.mutex("a").unwrap();
    client.clone().shutdown().await;
    let error = timeout(SOON, lock.acquire()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(lock.try_acquire().await.is_err());
}

#[tokio::test]
async fn a_shutdown_ends_the_work_under_a_lock_and_keeps_min_hold() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);
    let guard = one.mutex("a").unwrap().min_hold(Duration::from_secs(3600)).acquire().await.unwrap();
    let work = tokio::spawn(async move { guard.run(std::future::pending::<()>()).await });
    tokio::task::yield_now().await;
    one.shutdown().await;
    assert_eq!(timeout(SOON, work).await.unwrap().unwrap().unwrap_err().kind(), ErrorKind::Lost);
    assert!(two.mutex("a").unwrap().try_acquire().await.unwrap().is_none());
}

#[tokio::test]
async fn a_timeout_of_zero_asks_once() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);
    let guard = one.mutex("a").unwrap().acquire_timeout(Duration::ZERO).await.unwrap().unwrap();
    assert!(two.mutex("a").unwrap().acquire_timeout(Duration::ZERO).await.unwrap().is_none());
    guard.release().await.unwrap();
    let guard = two.mutex("a").unwrap().acquire_timeout(Duration::MAX).await.unwrap();
    assert!(guard.is_some());
}

#[tokio::test]
async fn a_timing_that_leaves_nothing_of_a_lease_is_refused() {
    for (drift_ppm, margin) in [(2_000_000, Duration::ZERO), (10_000, Duration::from_secs(1))] {
        let builder = Client::builder().timing(leasehold::Timing { drift_ppm, margin });
        let client = builder.connect("memory:").await.unwrap();
        let error = client.mutex("a").unwrap().ttl(TTL).acquire().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

#[tokio::test]
async fn a_guard_tells_its_doubt_by_the_clock_while_the_drivers_thread_is_blocked() {
    let store = MemoryStore::new();
    let (told, world) = channel();
    let engine = |context: leasehold::engine::Context| async move {
        told.send(context.world.clone()).unwrap();
        Ok(store.engine(&context.world, context.client, context.about))
    };
    let client = Client::builder().connect_with(engine).await.unwrap();
    let guard = client.mutex("a").unwrap().ttl(Duration::from_secs(6)).acquire().await.unwrap();
    let (resume, resumed) = channel::<()>();
    world.recv().unwrap().spawn(async move { resumed.recv().unwrap_or_default() });
    while guard.remaining() > Duration::from_millis(1900) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(guard.state(), GuardState::InDoubt);
    resume.send(()).unwrap();
}

#[tokio::test]
async fn a_renewal_by_claim_does_not_let_a_live_hold_be_released_under_its_holder() {
    let store = MemoryStore::new();
    let (one, two) = (client_of(&store).await, client_of(&store).await);
    let guard = one.mutex("a").unwrap().acquire().await.unwrap();
    let claimed = two.claimed("a", guard.claim()).unwrap();
    assert!(claimed.renew(Duration::from_secs(60)).await.unwrap().is_some());
    claimed.release().await.unwrap();
    assert_eq!(timeout(SOON, guard.lost()).await.unwrap(), LostWhy::Revoked);
    assert!(two.mutex("a").unwrap().try_acquire().await.unwrap().is_none(), "its holder has not let go yet");
}

#[test]
fn the_blocking_face_goes_on_for_long_inside_one_poll_of_a_task() {
    let (told, done) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let work = tokio::spawn(async move {
                let client = blocking::Client::connect("memory:").unwrap();
                for _ in 0..300 {
                    client.mutex("a").unwrap().acquire().unwrap().release().unwrap();
                    client.inspect("a").unwrap();
                }
            });
            told.send(work.await.is_ok()).unwrap();
        });
    });
    assert!(done.recv_timeout(SOON).expect("it must not wait for the scheduler that it keeps from running"));
}

/// An engine whose first claim is stopped for a while before it leaves, with the thread that sends it.
#[derive(Debug)]
struct Halting {
    inner: Arc<dyn Engine>,
    halt: Mutex<Option<Duration>>,
}

impl Engine for Halting {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn claim(&self, call: ClaimCall) -> Answer<ClaimReply> {
        let halt = self.halt.lock().unwrap().take();
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            halt.into_iter().for_each(std::thread::sleep);
            inner.claim(call).await
        })
    }

    fn renew(&self, call: RenewCall) -> Answer<RenewReply> {
        self.inner.renew(call)
    }

    fn release(&self, call: ReleaseCall) -> Answer<ReleaseReply> {
        self.inner.release(call)
    }

    fn inspect(&self, resource: ResourceName, io_deadline: Instant) -> Answer<Inspection> {
        self.inner.inspect(resource, io_deadline)
    }

    fn list(&self, io_deadline: Instant) -> Answer<Vec<Inspection>> {
        self.inner.list(io_deadline)
    }

    fn listen(&self, listener: Listener) {
        self.inner.listen(listener);
    }

    fn close(&self) -> Answer<()> {
        self.inner.close()
    }
}

async fn an_ask_that_leaves_behind_its_release(cohort: bool) {
    let store = MemoryStore::new();
    let of_halting = store.clone();
    let engine = |context: leasehold::engine::Context| async move {
        let inner = of_halting.engine(&context.world, context.client, context.about);
        // Longer than the wait, after which the claim is given up and released.
        Ok(Arc::new(Halting { inner, halt: Mutex::new(Some(Duration::from_millis(1_500))) }) as Arc<dyn Engine>)
    };
    let client = Client::builder().connect_with(engine).await.unwrap();
    let lock = client.mutex("a").unwrap().ttl(Duration::from_secs(3)).cohort(cohort);
    let outcome = lock.acquire_timeout(Duration::from_millis(300)).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
    let left = std::time::Instant::now();
    nothing_left(&client_of(&store).await).await;
    assert!(left.elapsed() < Duration::from_millis(2_500), "only its lease ended it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ask_that_leaves_behind_its_release_is_released_again() {
    an_ask_that_leaves_behind_its_release(false).await;
    an_ask_that_leaves_behind_its_release(true).await;
}
