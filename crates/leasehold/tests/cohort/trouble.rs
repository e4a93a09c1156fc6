//! Lines whose tasks come and go at any time, before a store that stops, fails and forgets.

use super::*;

/// Threads that stand in line for a moment each, so that the last one often leaves as another comes. `visit` says what it made of
/// an acquire that it polled a few times.
fn coming_and_going(one: &Client, visit: impl Fn(Option<Result<Guard, leasehold::Error>>) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (lock, visit) = (lock(one), &visit);
            scope.spawn(move || {
                for round in 0..60_000u32 {
                    let mut acquire = Box::pin(lock.acquire());
                    let looks = (round * 7 + thread * 3) % 40;
                    let answer = (0..=looks).find_map(|_| {
                        std::hint::spin_loop();
                        (&mut acquire).now_or_never()
                    });
                    drop(acquire);
                    visit(answer);
                }
            });
        }
    });
}

#[test]
fn whoever_comes_as_the_last_in_line_leaves_is_not_refused() {
    play(async {
        let (one, other) = (client("memory:comes_as_last_leaves").await, client("memory:comes_as_last_leaves").await);
        let held = lock(&other).acquire().await.unwrap();
        let line = one.clone();
        let visits = tokio::task::spawn_blocking(move || {
            coming_and_going(&line, |answer| assert!(answer.is_none(), "another holds: {answer:?}"));
        });
        visits.await.unwrap();
        waiters(&other, 0).await;
        held.release().await.unwrap();
        nothing_left(&other).await;
    });
}

#[test]
fn a_hold_that_was_told_is_not_withdrawn_with_the_last_in_line() {
    play(async {
        let one = client("memory:told_is_not_withdrawn").await;
        let line = one.clone();
        let visits = tokio::task::spawn_blocking(move || {
            coming_and_going(&line, |answer| {
                let Some(guard) = answer else { return };
                let guard = guard.unwrap();
                (0..3).for_each(|_| std::thread::yield_now());
                assert_eq!(guard.state(), GuardState::Held);
            });
        });
        visits.await.unwrap();
        nothing_left(&one).await;
    });
}

/// A small random source, so that a run is told by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % sides
    }
}

/// What the observer saw of attempts: how many began, and how many were seen to their end.
#[derive(Default)]
struct Attempts {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// Ends that nothing began; counted, since a panic in an observer ends no test.
    early: AtomicUsize,
}

impl Observer for Attempts {
    fn saw(&self, event: &Observed) {
        match &event.what {
            What::Attempt => self.begun.fetch_add(1, Ordering::SeqCst),
            What::Granted(_) | What::Failed(_) => {
                let ended = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
                self.early.fetch_add(usize::from(ended > self.begun.load(Ordering::SeqCst)), Ordering::SeqCst)
            }
            _ => 0,
        };
    }
}

/// One visit of one task: it takes what it gets, or leaves before.
async fn visit(client: &Client, resource: Option<&Resource>, mut dice: Dice) {
    let policies = [
        lock(client).ttl(Duration::from_millis(400)),
        lock(client).ttl(Duration::from_millis(500)).renew(Renewal::Off),
        lock(client).ttl(Duration::from_millis(600)).full_ttl(true).max_hold(Duration::from_millis(50)),
        lock(client).ttl(Duration::from_millis(700)).min_hold(Duration::from_millis(2)),
    ];
    let lock = &policies[dice.roll(8).saturating_sub(4) as usize];
    let guard = match dice.roll(4) {
        0 => timeout(Duration::from_micros(dice.roll(30_000)), lock.acquire()).await.ok().map(|got| got.unwrap()),
        1 => lock.acquire_timeout(Duration::from_micros(dice.roll(60_000))).await.ok().flatten(),
        _ => Some(lock.acquire().await.unwrap()),
    };
    let Some(guard) = guard else { return };
    if guard.check(Duration::from_millis(50)).is_ok()
        && let Some(resource) = resource
    {
        resource.used_under(&guard).await;
    }
    if dice.roll(10) == 0 {
        sleep(Duration::from_millis(dice.roll(500))).await;
    }
    if dice.roll(2) == 0 {
        let _ = guard.release().await;
    }
}

/// A store that stops and fails at any time, and forgets who holds if it is to be `forgetful`.
async fn trouble(store: &MemoryStore, mut dice: Dice, forgetful: bool) {
    let resource = ResourceName::new("a").unwrap();
    for _ in 0..15 {
        sleep(Duration::from_millis(dice.roll(150))).await;
        if forgetful {
            store.expire(&resource);
        }
        match dice.roll(3) {
            0 => store.fail(Some(leasehold::Error::unavailable("the store is loading"))),
            _ => store.freeze(),
        }
        sleep(Duration::from_millis(dice.roll(400))).await;
        store.fail(None);
        store.thaw();
    }
}

#[test]
fn in_trouble_no_two_hold_and_tokens_rise_and_no_line_is_forgotten() {
    a_run_in_trouble(false);
}

#[test]
fn a_store_that_forgets_who_holds_forgets_no_line() {
    a_run_in_trouble(true);
}

fn a_run_in_trouble(forgetful: bool) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    play(async move {
        let (store, attempts, resource) = (MemoryStore::new(), Arc::new(Attempts::default()), Arc::new(Resource::default()));
        let mut clients = Vec::new();
        for _ in 0..3 {
            let engine = store.clone();
            let connect = |context: leasehold::engine::Context| async move {
                Ok(engine.engine(&context.world, context.client, context.about))
            };
            let builder = Client::builder().observer(Arc::clone(&attempts) as Arc<dyn Observer>);
            clients.push(builder.connect_with(connect).await.unwrap());
        }
        let over = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for task in 0..24u64 {
            let (client, resource, over) = (clients[task as usize % 3].clone(), Arc::clone(&resource), Arc::clone(&over));
            tasks.push(tokio::spawn(async move {
                let mut dice = Dice(seed * 1_000_003 + task * 7_919 + 1);
                while over.load(Ordering::SeqCst) == 0 {
                    visit(&client, (!forgetful).then_some(&*resource), Dice(dice.roll(u64::MAX) | 1)).await;
                }
            }));
        }
        trouble(&store, Dice(seed * 31 + 5), forgetful).await;
        over.store(1, Ordering::SeqCst);
        for task in tasks {
            timeout(SOON, task).await.expect("no line is forgotten").unwrap();
        }
        nothing_left(&clients[0]).await;
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        until("every attempt's end", async || count(&attempts.begun) == count(&attempts.ended)).await;
        assert!(count(&attempts.begun) > 100);
        assert_eq!(count(&attempts.early), 0, "nothing ends that did not begin");
    });
}

#[test]
fn every_attempt_is_seen_to_its_end_by_a_shutdown_too() {
    play(async {
        let attempts = Arc::new(Attempts::default());
        let builder = Client::builder().observer(Arc::clone(&attempts) as Arc<dyn Observer>);
        let one = builder.connect("memory:seen_by_a_shutdown").await.unwrap();
        let (first, second) = (lock(&one), lock(&one).ttl(Duration::from_secs(9)));
        let held = first.acquire().await.unwrap();
        let waits: Vec<_> = join_all([&first, &first, &second, &second].map(|lock| impatient(lock.clone(), SOON))).await;
        one.shutdown().await;
        for wait in waits {
            assert_eq!(timeout(SOON, wait).await.unwrap().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
        }
        assert_eq!(first.acquire().await.unwrap_err().kind(), ErrorKind::Unavailable);
        drop(held);
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        until("every attempt's end", async || count(&attempts.ended) == 5).await;
        assert_eq!((count(&attempts.begun), count(&attempts.early)), (5, 0));
    });
}
