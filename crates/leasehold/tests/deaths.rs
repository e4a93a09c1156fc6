//! Processes that are killed while they hold or wait: how long the others wait for it, and what that costs the store.

mod support;

use leasehold::{Client, Guard};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What a process of its own does: `hold` or `wait`, the URL and the resource.
const JOB: &str = "LEASEHOLD_TEST_DEATH";
const TTL: Duration = Duration::from_secs(1);
const BEAT: Duration = Duration::from_millis(250);
/// What the promise grants to the machine, and what a loaded one may add.
const PROMISED: Duration = Duration::from_millis(250);
const SLACK: Duration = Duration::from_millis(1_500);

/// Not a test of its own: what each killed process runs.
#[test]
fn doomed() {
    let Ok(job) = env::var(JOB) else { return };
    let [what, url, name] = job.split(' ').collect::<Vec<_>>()[..] else { panic!("{job}") };
    runtime().block_on(async {
        let client = Client::connect(url).await.unwrap();
        if what == "hold" {
            let _guard = client.mutex(name).unwrap().ttl(TTL).acquire().await.unwrap();
            say("held");
            std::future::pending::<()>().await;
        }
        let waiting = client.mutex(name).unwrap().ttl(TTL);
        say("waiting");
        let _guard = waiting.acquire().await.unwrap();
        std::future::pending::<()>().await;
    });
}

fn say(word: &str) {
    // The harness writes to the same stream, so the word has a line of its own.
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{word}").unwrap();
    out.flush().unwrap();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

struct Doomed(Child);

impl Doomed {
    /// Starts a process and waits until it says that it is at its job.
    fn start(what: &str, url: &str, name: &str) -> Doomed {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "doomed", "--nocapture", "--test-threads=1"]).env(JOB, format!("{what} {url} {name}"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.map_while(Result::ok).any(|line| line == "held" || line == "waiting");
        assert!(said, "the process died by itself");
        Doomed(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn in_line(client: &Client, name: &str, count: usize) {
    while client.inspect(name).await.unwrap().waiters.len() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A waiter in line, as a task that tells when it was granted.
async fn waiter(client: &Client, name: &str, place: usize) -> tokio::task::JoinHandle<(Guard, Instant)> {
    let lock = client.mutex(name).unwrap().ttl(TTL).cohort(false);
    let waiting = tokio::spawn(async move { (lock.acquire().await.unwrap(), Instant::now()) });
    in_line(client, name, place).await;
    waiting
}

/// How long after the death of a holder the next one is granted.
fn after_a_holders_death(url: &str, name: &str) -> Duration {
    let mut holder = Doomed::start("hold", url, name);
    runtime().block_on(async {
        let client = Client::connect(url).await.unwrap();
        let waiting = waiter(&client, name, 1).await;
        holder.kill();
        let begun = Instant::now();
        let (guard, at) = waiting.await.unwrap();
        guard.release().await.unwrap();
        client.shutdown().await;
        at - begun
    })
}

fn holders_die(url: &str) {
    let dying: Vec<_> = (0..7)
        .map(|run| {
            let url = url.to_owned();
            thread::spawn(move || after_a_holders_death(&url, &format!("r{run}")))
        })
        .collect();
    let mut spans: Vec<Duration> = dying.into_iter().map(|dying| dying.join().unwrap()).collect();
    spans.sort_unstable();
    println!("after the death of a holder: {spans:?}");
    assert!(spans[spans.len() / 2] <= TTL + BEAT + PROMISED, "the median of {spans:?}");
    assert!(spans.iter().all(|span| *span <= TTL + BEAT + PROMISED + SLACK), "{spans:?}");
}

#[cfg(feature = "redis")]
#[test]
fn the_next_is_granted_soon_after_a_holders_death_on_redis() {
    let server = support::redis::RedisServer::start();
    holders_die(&server.url());
}

#[cfg(feature = "redis")]
#[test]
fn of_a_client_that_was_killed_alone_nothing_stays_on_redis_but_the_counter() {
    let server = support::redis::RedisServer::start();
    let keys = |done: &dyn Fn(&[String]) -> bool| {
        let patience = Instant::now() + Duration::from_secs(20);
        while !done(&server.keys()) {
            assert!(Instant::now() < patience, "{:?}", server.keys());
            thread::sleep(Duration::from_millis(20));
        }
    };
    let mut holder = Doomed::start("hold", &server.url(), "a");
    keys(&|keys| keys.iter().any(|key| key == "leasehold:\u{1}clients"));
    holder.kill();
    keys(&|keys| keys == ["leasehold:\u{1}token"]);
}

#[cfg(feature = "sqlite")]
#[test]
fn the_next_is_granted_soon_after_a_holders_death_on_sqlite() {
    let database = support::sqlite::open();
    holders_die(&database.url());
}

/// A dead waiter at the head of the line, and a release: how long the next one waits, by what `count` says how expensively.
fn a_waiter_dies(url: &str, count: impl Fn() -> u64) {
    runtime().block_on(async {
        let client = Client::connect(url).await.unwrap();
        let held = client.mutex("a").unwrap().ttl(TTL).acquire().await.unwrap();
        let mut dead = Doomed::start("wait", url, "a");
        in_line(&client, "a", 1).await;
        let waiting = waiter(&client, "a", 2).await;
        dead.kill();
        let (before, begun) = (count(), Instant::now());
        held.release().await.unwrap();
        let (guard, at) = waiting.await.unwrap();
        let (made, span) = (count() - before, at - begun);
        println!("behind a dead waiter: {span:?}, {made} requests");
        assert!(span <= BEAT * 3 + PROMISED + SLACK, "{span:?}");
        // Beats, registries, and the wait for the dead one's end.
        assert!(made <= 40, "{made} requests in {span:?}");
        guard.release().await.unwrap();
        client.shutdown().await;
    });
}

#[cfg(feature = "redis")]
#[test]
fn a_dead_waiter_at_the_head_costs_three_beats_and_no_hot_loop_on_redis() {
    let server = support::redis::RedisServer::start();
    let count = || {
        let stats: String = server.query(&["INFO", "commandstats"]);
        let calls = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")))?;
            line.split(',').next()?.parse::<u64>().ok()
        };
        ["incr", "evalsha", "eval"].into_iter().filter_map(calls).sum()
    };
    a_waiter_dies(&server.url(), count);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_dead_waiter_at_the_head_costs_three_beats_on_sqlite() {
    let database = support::sqlite::open();
    a_waiter_dies(&database.url(), || 0);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_hundred_acquires_dropped_anywhere_leave_nothing_behind_on_sqlite() {
    let database = support::sqlite::open();
    runtime().block_on(async {
        let (holder, dropper) =
            (Client::connect(&database.url()).await.unwrap(), Client::connect(&database.url()).await.unwrap());
        let guard = holder.mutex("held").unwrap().acquire().await.unwrap();
        for n in 0..100u64 {
            let lock = dropper.mutex(if n % 3 == 0 { "free" } else { "held" }).unwrap();
            let wait = Duration::from_micros(n * n * 37 % 3_000);
            let _ = tokio::time::timeout(wait, async move { lock.acquire().await }).await;
        }
        guard.release().await.unwrap();
        let begun = Instant::now();
        while !holder.list().await.unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "left behind: {:?}", holder.list().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(holder.mutex("held").unwrap().try_acquire().await.unwrap().is_some());
        holder.shutdown().await;
        dropper.shutdown().await;
    });
    let rows =
        |table: &str| database.raw().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u32>(0)).unwrap();
    assert_eq!((rows("holder"), rows("waiter")), (0, 0));
}
