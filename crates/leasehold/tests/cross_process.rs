//! Many processes take turns: no overlap, tokens rise, the queue's order is kept, nothing is left behind.

mod support;

use leasehold::{Client, Inspection};
use std::collections::HashMap;
use std::env;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::clock;

const WORKER: &str = "LEASEHOLD_TEST_WORKER";
const PROCESSES: usize = 4;
const TASKS_EACH: usize = 16;

/// One hold as its holder saw it: between the return of the acquire and the call of the release.
#[derive(Clone, Debug)]
struct Held {
    claim: String,
    token: u64,
    from: u64,
    to: u64,
}

/// How long the processes contend; the release check runs it longer.
fn contention() -> Duration {
    let seconds = env::var("LEASEHOLD_CONTENTION_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

#[cfg(feature = "sqlite")]
#[test]
fn sixty_four_tasks_in_four_processes_take_turns_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    take_turns(&format!("sqlite:{}", directory.path().join("locks.db").display()));
}

#[cfg(feature = "redis")]
#[test]
fn sixty_four_tasks_in_four_processes_take_turns_on_redis() {
    let server = support::redis::RedisServer::start();
    take_turns(&server.url());
    assert_eq!(server.keys(), ["leasehold:\u{1}token"]);
}

fn take_turns(url: &str) {
    let workers: Vec<Child> = (0..PROCESSES).map(|_| spawn_worker(url)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let queues = runtime.block_on(watch_the_queue(url));
    let mut holds = Vec::new();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "a worker failed: {}", output.status);
        holds.extend(String::from_utf8(output.stdout).unwrap().lines().filter_map(parse));
    }
    holds.sort_by_key(|held: &Held| held.from);
    println!("{} grants, {} looks at the queue", holds.len(), queues.len());
    assert!(holds.len() > PROCESSES * TASKS_EACH, "every task had its turn");
    check_no_overlap(&holds);
    check_order(&holds, &queues);
    runtime.block_on(check_nothing_left(url));
}

fn spawn_worker(url: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture", "--test-threads=1"])
        .env(WORKER, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what each of the processes runs.
#[test]
fn worker() {
    let Ok(url) = env::var(WORKER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let holds = runtime.block_on(async {
        let client = Client::connect(&url).await.unwrap();
        let end = clock::now() + contention().as_nanos() as u64;
        let tasks: Vec<_> = (0..TASKS_EACH).map(|n| tokio::spawn(contend(client.clone(), n % 2 == 0, end))).collect();
        let mut holds = Vec::new();
        for task in tasks {
            holds.extend(task.await.unwrap());
        }
        client.shutdown().await;
        holds
    });
    let mut out = std::io::stdout().lock();
    for held in holds {
        writeln!(out, "held {} {} {} {}", held.claim, held.token, held.from, held.to).unwrap();
    }
}

/// Half of the tasks pass the lock on among themselves, half are each in the store's queue.
async fn contend(client: Client, cohort: bool, end: u64) -> Vec<Held> {
    let lock = client.mutex("contended:by:all").unwrap().cohort(cohort);
    let mut holds = Vec::new();
    while clock::now() < end {
        let guard = lock.acquire().await.unwrap();
        let from = clock::now();
        tokio::task::yield_now().await;
        let (claim, token) = (guard.claim().to_string(), guard.token().as_u64());
        guard.check(Duration::ZERO).unwrap();
        let to = clock::now();
        guard.release().await.unwrap();
        holds.push(Held { claim, token, from, to });
    }
    holds
}

fn parse(line: &str) -> Option<Held> {
    // The harness writes to the same stream, now and then on the same line.
    let fields: Vec<&str> = line.split("held ").nth(1)?.split(' ').collect();
    let number = |n: usize| fields[n].parse().unwrap();
    Some(Held { claim: fields[0].into(), token: number(1), from: number(2), to: number(3) })
}

/// Looks at the queue again and again while the processes run.
async fn watch_the_queue(url: &str) -> Vec<Vec<String>> {
    let client = Client::connect(url).await.unwrap();
    let end = clock::now() + contention().as_nanos() as u64;
    let mut queues = Vec::new();
    while clock::now() < end {
        if let Ok(seen) = client.inspect("contended:by:all").await {
            queues.push(claims(&seen));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.shutdown().await;
    queues
}

fn claims(seen: &Inspection) -> Vec<String> {
    seen.holders.iter().chain(&seen.waiters).filter_map(|party| party.claim).map(|claim| claim.to_string()).collect()
}

fn check_no_overlap(holds: &[Held]) {
    for pair in holds.windows(2) {
        assert!(pair[0].to <= pair[1].from, "two held at once: {pair:?}");
        assert!(pair[0].token < pair[1].token, "a later grant has a smaller token: {pair:?}");
    }
}

/// Of those seen in one look at the queue, whoever stood before another was granted before it.
fn check_order(holds: &[Held], queues: &[Vec<String>]) {
    let token: HashMap<&str, u64> = holds.iter().map(|held| (held.claim.as_str(), held.token)).collect();
    let mut compared = 0;
    for queue in queues {
        let tokens: Vec<u64> = queue.iter().filter_map(|claim| token.get(claim.as_str()).copied()).collect();
        compared += tokens.len().saturating_sub(1);
        assert!(tokens.is_sorted(), "served out of order: {queue:?} had tokens {tokens:?}");
    }
    assert!(compared > 100, "too few looks at the queue to say anything: {compared}");
}

async fn check_nothing_left(url: &str) {
    let client = Client::connect(url).await.unwrap();
    let left = client.list().await.unwrap();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert!(client.inspect("contended:by:all").await.unwrap().waiters.is_empty());
    client.shutdown().await;
}
