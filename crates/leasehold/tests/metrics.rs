//! Known traffic of three processes, and what their metrics say of it: every count is exact, and all sums agree.

mod support;

use leasehold::engine::{Context, Engine};
use leasehold::engines::memory::MemoryStore;
use leasehold::observers::Metrics;
use leasehold::{Client, Error, LostWhy, Mutex, Observed, Observer, Renewal, ResourceName};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use prometheus_parse::{Scrape, Value};
use std::env;
use std::future::Future;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const WORKER: &str = "LEASEHOLD_TEST_METRICS";
const LONG: Duration = Duration::from_secs(60);

/// How often each process does what; together 1000 attempts.
const PLAIN: [usize; 3] = [182, 181, 181];
const REFUSED: usize = 60;
const TIMED_OUT: usize = 20;
const CANCELLED: usize = 10;
const ENDED: usize = 5;
const REVOKED: usize = 2;
const DETACHED: usize = 3;
const NEAR_MAX_HOLD: usize = 2;
const SHARED: usize = 30;
const IN_LINE: usize = 20;

/// What was rendered, to be asked.
struct Seen(Scrape);

impl Seen {
    fn parse(text: &str) -> Seen {
        Seen(Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap())
    }

    /// The sum of all series of this name that have these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&prometheus_parse::Sample| labels.iter().all(|(key, value)| sample.labels.get(key) == Some(*value));
        let value = |sample: &prometheus_parse::Sample| match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            ref other => panic!("{name} is {other:?}"),
        };
        self.0.samples.iter().filter(|sample| sample.metric == name).filter(has).map(value).sum()
    }

    fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        let sum = self.sum(name, labels);
        assert!(sum >= 0.0 && sum.fract() == 0.0, "{name} is {sum}");
        sum as usize
    }

    /// What is true whatever happened, once nothing is under way.
    fn adds_up(&self) {
        let all = |name: &str| self.count(name, &[]);
        let (attempts, grants, failures) =
            (all("leasehold_attempts_total"), all("leasehold_grants_total"), all("leasehold_failures_total"));
        assert_eq!(attempts, grants + failures + all("leasehold_waiting"));
        let ended = all("leasehold_releases_total") + all("leasehold_losses_total") + all("leasehold_detached_total");
        assert_eq!(grants, ended + all("leasehold_held"));
        assert_eq!(all("leasehold_hold_seconds_count"), ended);
        assert_eq!(all("leasehold_acquire_seconds_count"), grants + failures);
        assert_eq!(self.count("leasehold_acquire_seconds_count", &[("outcome", "granted")]), grants);
        assert_eq!(all("leasehold_release_seconds_count") + all("leasehold_hand_offs_total"), all("leasehold_releases_total"));
    }

    fn success(&self) -> f64 {
        let grants = self.sum("leasehold_grants_total", &[]);
        let spent = self.sum("leasehold_failures_total", &[("cause", "spent")]);
        grants / (grants + self.sum("leasehold_failures_total", &[]) - spent)
    }
}

fn prometheus() -> (Arc<Metrics>, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().set_buckets(&Metrics::BUCKETS).unwrap().build_recorder();
    let handle = recorder.handle();
    (Arc::new(Metrics::on(Arc::new(recorder))), handle)
}

/// Looks again and again, until what is rendered is as wanted.
async fn rendered(handle: &PrometheusHandle, wanted: impl Fn(&Seen) -> bool) -> Seen {
    let begun = Instant::now();
    loop {
        let seen = Seen::parse(&handle.render());
        if wanted(&seen) {
            // What is rendered is read one by one: only what was at rest from its beginning agrees.
            return Seen::parse(&handle.render());
        }
        assert!(begun.elapsed() < LONG, "waited in vain:\n{}", handle.render());
        sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(feature = "redis")]
#[test]
fn what_three_processes_did_on_redis_is_counted_exactly() {
    let server = support::redis::RedisServer::start();
    three_processes(&server.url());
}

#[cfg(feature = "sqlite")]
#[test]
fn what_three_processes_did_on_sqlite_is_counted_exactly() {
    let directory = tempfile::tempdir().unwrap();
    three_processes(&format!("sqlite:{}", directory.path().join("locks.db").display()));
}

fn three_processes(url: &str) {
    let start = |number: usize| {
        let mut worker = Command::new(env::current_exe().unwrap());
        worker.args(["--exact", "a_process_at_work", "--nocapture"]).env(WORKER, format!("{number} {url}"));
        worker.stdout(Stdio::piped()).spawn().unwrap()
    };
    let workers: Vec<Child> = (0..3).map(start).collect();
    let mut text = String::new();
    for (number, worker) in workers.into_iter().enumerate() {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "worker {number}: {}", output.status);
        // What the test harness prints stands before and behind.
        let all = String::from_utf8(output.stdout).unwrap();
        let own = all.split("-----").nth(1).expect("a worker hands its metrics back");
        let seen = Seen::parse(own);
        seen.adds_up();
        assert_eq!(seen.sum("leasehold_success_ratio", &[]), seen.success());
        text.push_str(own);
    }
    all_of_them(&Seen::parse(&text));
}

fn all_of_them(seen: &Seen) {
    let plain: usize = PLAIN.iter().sum();
    let losses = 3 * (ENDED + REVOKED);
    let releases = plain + 3 * (NEAR_MAX_HOLD + SHARED + IN_LINE);
    let is =
        |name: &str, labels: &[(&str, &str)], wanted: usize| assert_eq!(seen.count(name, labels), wanted, "{name} {labels:?}");
    is("leasehold_attempts_total", &[], 1000);
    is("leasehold_grants_total", &[], releases + losses + 3 * DETACHED);
    is("leasehold_failures_total", &[], 3 * (REFUSED + TIMED_OUT + CANCELLED));
    is("leasehold_failures_total", &[("cause", "held")], 3 * REFUSED);
    is("leasehold_failures_total", &[("cause", "timeout")], 3 * TIMED_OUT);
    is("leasehold_failures_total", &[("cause", "cancelled")], 3 * CANCELLED);
    is("leasehold_releases_total", &[("answer", "released")], releases);
    is("leasehold_releases_total", &[], releases);
    is("leasehold_losses_total", &[("cause", "ended")], 3 * ENDED);
    is("leasehold_losses_total", &[], losses);
    is("leasehold_detached_total", &[], 3 * DETACHED);
    is("leasehold_near_max_hold_total", &[], 3 * NEAR_MAX_HOLD);
    is("leasehold_waiting", &[], 0);
    is("leasehold_held", &[], 0);
    is("leasehold_acquire_seconds_count", &[("outcome", "held")], 3 * REFUSED);
    is("leasehold_acquire_seconds_count", &[("outcome", "timeout")], 3 * TIMED_OUT);
    is("leasehold_acquire_seconds_count", &[("outcome", "cancelled")], 3 * CANCELLED);
    is("leasehold_acquire_seconds_count", &[], 1000);
    is("leasehold_hold_seconds_count", &[], releases + losses + 3 * DETACHED);
    assert!(seen.count("leasehold_hand_offs_total", &[]) > 0, "a line passes its lock on");
    // Each wait for a lock that somebody else held took its time, and so did each fixed lease.
    assert!(seen.sum("leasehold_acquire_seconds_sum", &[("outcome", "timeout")]) >= 3.0 * TIMED_OUT as f64 * 0.005);
    assert!(seen.sum("leasehold_hold_seconds_sum", &[]) >= 3.0 * ENDED as f64 * 0.3);
}

/// Not a test of its own: what each process does, started again by the tests above.
#[test]
fn a_process_at_work() {
    let Ok(told) = env::var(WORKER) else { return };
    let (number, url) = told.split_once(' ').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let text = runtime.block_on(work(number.parse().unwrap(), url));
    println!("-----\n{text}\n-----");
}

async fn work(number: usize, url: &str) -> String {
    let (metrics, handle) = prometheus();
    let client = Client::builder().observer(metrics).connect(url).await.unwrap();
    let other = Client::connect(url).await.unwrap();
    let lock = |client: &Client, name: &str| client.mutex(format!("{name}:{number}")).unwrap();
    let blocker = lock(&other, "held").acquire().await.unwrap();
    for _ in 0..PLAIN[number] {
        lock(&client, "plain").acquire().await.unwrap().release().await.unwrap();
    }
    for _ in 0..REFUSED {
        assert!(lock(&client, "held").try_acquire().await.unwrap().is_none());
    }
    for at in 0..TIMED_OUT {
        // In a line with others, and in none.
        let waits = lock(&client, "held").cohort(at % 2 == 0).acquire_timeout(Duration::from_millis(50)).await;
        assert!(waits.unwrap().is_none());
    }
    for at in 0..CANCELLED {
        let waits = timeout(Duration::from_millis(20), lock(&client, "held").cohort(at % 2 == 0).acquire()).await;
        assert!(waits.is_err());
    }
    for at in 0..ENDED {
        let fixed = lock(&client, &format!("fixed:{at}")).ttl(Duration::from_millis(400)).renew(Renewal::Off);
        let guard = fixed.acquire().await.unwrap();
        assert_eq!(guard.lost().await, LostWhy::Ended);
    }
    for at in 0..REVOKED {
        let guard = lock(&client, &format!("revoked:{at}")).ttl(Duration::from_secs(2)).acquire().await.unwrap();
        assert_eq!(other.revoke(guard.resource().as_str(), true).await.unwrap(), 1);
        timeout(LONG, guard.lost()).await.unwrap();
    }
    for at in 0..DETACHED {
        let guard = lock(&client, &format!("detached:{at}")).acquire().await.unwrap();
        guard.detach().await.unwrap();
    }
    for at in 0..NEAR_MAX_HOLD {
        let limited = lock(&client, &format!("limited:{at}")).max_hold(Duration::from_millis(300));
        let guard = limited.acquire().await.unwrap();
        rendered(&handle, |seen| seen.count("leasehold_near_max_hold_total", &[]) == at + 1).await;
        guard.release().await.unwrap();
    }
    for _ in 0..SHARED {
        client.mutex("shared").unwrap().acquire().await.unwrap().release().await.unwrap();
    }
    in_line(&lock(&client, "line")).await;
    blocker.release().await.unwrap();
    let quiet = |seen: &Seen| seen.count("leasehold_held", &[]) == 0 && seen.count("leasehold_waiting", &[]) == 0;
    rendered(&handle, quiet).await;
    handle.render()
}

/// Many tasks of one client at one lock, which they pass on.
async fn in_line(lock: &Mutex) {
    let task = |lock: Mutex| {
        tokio::spawn(async move {
            let guard = lock.acquire().await.unwrap();
            sleep(Duration::from_millis(1)).await;
            guard.release().await.unwrap();
        })
    };
    let tasks: Vec<_> = (0..IN_LINE).map(|_| task(lock.clone())).collect();
    for task in tasks {
        timeout(LONG, task).await.unwrap().unwrap();
    }
}

/// A client of a store that can be stopped.
async fn client_of(store: &MemoryStore, observers: &[Arc<dyn Observer>]) -> Client {
    let engine = store.clone();
    let connect = |context: Context| async move {
        Ok::<Arc<dyn Engine>, Error>(engine.engine(&context.world, context.client, context.about))
    };
    let builder = observers.iter().fold(Client::builder(), |builder, observer| builder.observer(Arc::clone(observer)));
    builder.connect_with(connect).await.unwrap()
}

fn play<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

#[test]
fn renewals_doubt_and_failures_are_counted_by_cause() {
    play(async {
        let (metrics, handle) = prometheus();
        let store = MemoryStore::new();
        let client = client_of(&store, &[metrics]).await;
        let short = |name: &str| client.mutex(name).unwrap().ttl(Duration::from_millis(600));
        let guard = short("a").acquire().await.unwrap();
        rendered(&handle, |seen| seen.count("leasehold_renewals_total", &[]) >= 2).await;
        store.fail(Some(Error::unavailable("the store is loading")));
        assert!(short("b").try_acquire().await.is_err());
        assert_eq!(timeout(LONG, guard.lost()).await.unwrap(), LostWhy::Expired);
        store.fail(None);
        drop(guard);
        let seen = rendered(&handle, |seen| seen.count("leasehold_losses_total", &[("cause", "expired")]) == 1).await;
        assert!(seen.count("leasehold_renewal_failures_total", &[("cause", "unavailable")]) > 0);
        assert_eq!(seen.count("leasehold_in_doubt_total", &[]), 1);
        assert_eq!(seen.count("leasehold_recovered_total", &[]), 0);
        assert_eq!(seen.count("leasehold_failures_total", &[("cause", "unavailable")]), 1);
        assert_eq!(seen.count("leasehold_releases_total", &[]), 0, "a hold that was lost is not released as well");
        assert_eq!(seen.sum("leasehold_success_ratio", &[]), 0.5);
        seen.adds_up();
    });
}

#[test]
fn what_is_held_and_what_waits_is_shown_while_it_lasts() {
    play(async {
        let (metrics, handle) = prometheus();
        let client = client_of(&MemoryStore::new(), &[metrics]).await;
        let lock = client.mutex("a").unwrap();
        let guard = lock.acquire().await.unwrap();
        // Each gives back by itself: they may have come in another order than they were started.
        let wait = |lock: Mutex| tokio::spawn(async move { lock.acquire().await.unwrap().release().await });
        let waits: Vec<_> = (0..7).map(|_| wait(lock.clone())).collect();
        let seen = rendered(&handle, |seen| seen.count("leasehold_waiting", &[]) == 7).await;
        assert_eq!(seen.count("leasehold_held", &[]), 1);
        seen.adds_up();
        drop(guard);
        for wait in waits {
            timeout(LONG, wait).await.unwrap().unwrap().unwrap();
        }
        let seen = rendered(&handle, |seen| seen.count("leasehold_held", &[]) == 0).await;
        assert_eq!((seen.count("leasehold_waiting", &[]), seen.count("leasehold_releases_total", &[])), (0, 8));
        let mean = seen.sum("leasehold_hold_seconds_sum", &[]) / 8.0;
        assert!((seen.sum("leasehold_mean_hold_seconds", &[]) - mean).abs() < 1e-9, "{mean}");
        seen.adds_up();
    });
}

#[test]
fn resources_are_counted_by_group_and_never_by_name() {
    play(async {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let kind = |name: &ResourceName| name.as_str().split(':').next().unwrap().to_owned();
        let client = client_of(&MemoryStore::new(), &[Arc::new(Metrics::on(Arc::new(recorder)).by(kind))]).await;
        for name in ["order:1:pay", "order:2:pay", "user:7:mail"] {
            client.mutex(name).unwrap().acquire().await.unwrap().release().await.unwrap();
        }
        let seen = rendered(&handle, |seen| seen.count("leasehold_releases_total", &[]) == 3).await;
        assert_eq!(seen.count("leasehold_grants_total", &[("group", "order")]), 2);
        assert_eq!(seen.count("leasehold_grants_total", &[("group", "user")]), 1);
        assert!(!handle.render().contains("pay"), "{}", handle.render());
        for at in 0..1000 {
            client.mutex(format!("{at}:x")).unwrap().acquire().await.unwrap().release().await.unwrap();
        }
        let seen = rendered(&handle, |seen| seen.count("leasehold_releases_total", &[]) == 1003).await;
        let groups = seen.0.samples.iter().filter(|sample| sample.metric == "leasehold_grants_total").count();
        assert_eq!(groups, 200);
        assert_eq!(seen.count("leasehold_grants_total", &[("group", "(rest)")]), 1003 - 3 - 197);
    });
}

/// One visit of one task: it takes what it gets, or leaves before, alone or in a line, and may overstay its lease.
async fn visit(client: &Client, mut roll: impl FnMut(u64) -> u64) {
    let lock = client.mutex("a").unwrap().cohort(roll(3) > 0);
    let lock = match roll(4) {
        0 => lock.ttl(Duration::from_millis(400)).renew(Renewal::Off),
        1 => lock.ttl(Duration::from_millis(500)).full_ttl(true).max_hold(Duration::from_millis(50)),
        _ => lock.ttl(Duration::from_millis(600)),
    };
    let guard = match roll(5) {
        0 => timeout(Duration::from_micros(roll(30_000)), lock.acquire()).await.ok().map(|got| got.unwrap()),
        1 => lock.acquire_timeout(Duration::from_micros(roll(60_000))).await.ok().flatten(),
        2 => lock.try_acquire().await.ok().flatten(),
        _ => timeout(Duration::from_millis(roll(2_000)), lock.acquire()).await.ok().map(|got| got.unwrap()),
    };
    let Some(guard) = guard else { return };
    sleep(Duration::from_millis(if roll(20) == 0 { roll(600) } else { roll(3) })).await;
    match roll(30) {
        0 => drop(guard.detach().await),
        1..10 => drop(guard),
        _ => drop(guard.release().await),
    }
}

#[test]
fn in_trouble_the_sums_agree_all_the_same() {
    play(async {
        let (metrics, handle) = prometheus();
        let store = MemoryStore::new();
        let metrics: [Arc<dyn Observer>; 1] = [metrics];
        let clients = [client_of(&store, &metrics).await, client_of(&store, &metrics).await];
        let over = Arc::new(AtomicUsize::new(0));
        let task = |number: u64| {
            let (client, over) = (clients[number as usize % 2].clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut state = number * 7_919 + 1;
                while over.load(Ordering::SeqCst) == 0 {
                    visit(&client, |sides| {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        (state >> 20) % sides.max(1)
                    })
                    .await;
                }
            })
        };
        let tasks: Vec<_> = (0..24).map(task).collect();
        let resource = ResourceName::new("a").unwrap();
        for round in 0..12 {
            sleep(Duration::from_millis(150)).await;
            match round % 3 {
                0 => store.fail(Some(Error::unavailable("the store is loading"))),
                1 => store.freeze(),
                _ => store.expire(&resource),
            }
            sleep(Duration::from_millis(round * 40)).await;
            store.fail(None);
            store.thaw();
        }
        over.store(1, Ordering::SeqCst);
        for task in tasks {
            timeout(LONG, task).await.unwrap().unwrap();
        }
        // Whatever chance brought: there is one loss, and one hold that is left to others.
        let last = clients[0].mutex("b").unwrap().ttl(Duration::from_millis(400)).renew(Renewal::Off);
        last.acquire().await.unwrap().lost().await;
        clients[0].mutex("c").unwrap().acquire().await.unwrap().detach().await.unwrap();
        let quiet = |seen: &Seen| seen.sum("leasehold_held", &[]) == 0.0 && seen.sum("leasehold_waiting", &[]) == 0.0;
        let seen = rendered(&handle, quiet).await;
        seen.adds_up();
        assert_eq!(seen.sum("leasehold_success_ratio", &[]), seen.success());
        let least = [("attempts", 100), ("grants", 20), ("failures", 5), ("losses", 1), ("releases", 10), ("detached", 1)];
        for (name, least) in least {
            assert!(seen.count(&format!("leasehold_{name}_total"), &[]) >= least, "{name}");
        }
    });
}

/// Counts its events, and panics at each.
struct Sick(AtomicUsize, bool);

impl Observer for Sick {
    fn saw(&self, _: &Observed) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("an observer that is sick, as it is to be");
    }

    fn is_prompt(&self) -> bool {
        self.1
    }
}

#[test]
fn a_sick_observer_harms_neither_the_lock_nor_the_other_observers() {
    play(async {
        let (metrics, handle) = prometheus();
        let (prompt, slow) = (Arc::new(Sick(AtomicUsize::new(0), true)), Arc::new(Sick(AtomicUsize::new(0), false)));
        let observers: [Arc<dyn Observer>; 3] = [prompt.clone(), slow.clone(), metrics];
        let client = client_of(&MemoryStore::new(), &observers).await;
        for _ in 0..3 {
            client.mutex("a").unwrap().acquire().await.unwrap().release().await.unwrap();
        }
        let seen = rendered(&handle, |seen| seen.count("leasehold_releases_total", &[]) == 3).await;
        seen.adds_up();
        assert_eq!(prompt.0.load(Ordering::SeqCst), 9, "prompt observers have seen what has happened");
        rendered(&handle, |_| slow.0.load(Ordering::SeqCst) == 9).await;
    });
}
