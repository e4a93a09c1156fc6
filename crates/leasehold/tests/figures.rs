//! What a lock costs, by the server's own counters, and how fast it changes hands, as a ratio within one run.
#![cfg(feature = "redis")]

mod support;

use leasehold::{Client, Mutex, ResourceName};
use leasehold_core::{ClaimId, Manner, Terms, Token};
use leasehold_wire::{Change, Entry, HoldState, NativeClaim, Space, registry, release};
use redis::{Pipeline, cmd};
use std::collections::HashMap;
use std::time::Duration;
use support::clock;
use support::redis::RedisServer;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// How often each command was called by clients or by scripts since the last reset.
fn calls(server: &RedisServer) -> HashMap<String, u64> {
    let stats: String = server.query(&["INFO", "commandstats"]);
    let line = |line: &str| {
        let (name, rest) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    stats.lines().filter_map(line).collect()
}

/// Requests since the last reset, a native claim or a top-level script call each; the registries' own writes apart. Never too
/// few.
fn requests(server: &RedisServer) -> u64 {
    let calls = calls(server);
    let sum = |names: &[&str]| names.iter().filter_map(|name| calls.get(*name)).sum::<u64>();
    // A native claim is counted by its `INCR`, which no script calls. A write of a registry says once in the set of clients until
    // when it lives; nothing else touches that set.
    sum(&["evalsha", "eval", "incr"]) - sum(&["zadd"])
}

fn reset(server: &RedisServer) {
    server.query::<()>(&["CONFIG", "RESETSTAT"]);
}

#[test]
fn an_uncontended_cycle_is_two_requests() {
    let server = RedisServer::start();
    runtime().block_on(async {
        let client = Client::connect(&server.url()).await.unwrap();
        reset(&server);
        for n in 0..500 {
            let lock = client.mutex(format!("order:{n}:pay")).unwrap();
            lock.acquire().await.unwrap().release().await.unwrap();
        }
        assert_eq!(requests(&server), 1_000, "in 500 cycles: {:?}", calls(&server));
    });
}

#[test]
fn a_hand_off_is_two_requests_and_a_fifth_at_most() {
    let server = RedisServer::start();
    runtime().block_on(async {
        let (one, two) = (Client::connect(&server.url()).await.unwrap(), Client::connect(&server.url()).await.unwrap());
        let one = one.mutex("stock:shoes:sell").unwrap();
        let two = two.mutex("stock:shoes:sell").unwrap();
        // The first meeting of the two costs one request more, until both know that it is contended.
        ping_pong(&one, &two, 4).await;
        reset(&server);
        ping_pong(&one, &two, 300).await;
        let made = requests(&server);
        assert!((600..=660).contains(&made), "{made} requests in 300 hand-offs: {:?}", calls(&server));
    });
}

/// Two contenders, each always waiting for the other.
async fn ping_pong(one: &Mutex, two: &Mutex, hand_offs: usize) {
    let mut held = one.acquire().await.unwrap();
    for n in 0..hand_offs {
        let next = if n % 2 == 0 { two.clone() } else { one.clone() };
        let waiting = tokio::spawn(async move { next.acquire().await.unwrap() });
        // Time to queue in, without a look at the store that would be counted.
        tokio::time::sleep(Duration::from_millis(3)).await;
        held.release().await.unwrap();
        held = waiting.await.unwrap();
    }
    held.release().await.unwrap();
}

#[test]
fn idle_waiters_send_nothing_but_beats() {
    let server = RedisServer::start();
    runtime().block_on(async {
        let (holder, waiters) = (Client::connect(&server.url()).await.unwrap(), Client::connect(&server.url()).await.unwrap());
        let guard = holder.mutex("a").unwrap().ttl(Duration::from_secs(60)).acquire().await.unwrap();
        let waiting: Vec<_> = (0..32).map(|_| waiters.mutex("a").unwrap().cohort(false)).collect();
        let tasks: Vec<_> = waiting.into_iter().map(|lock| tokio::spawn(async move { lock.acquire().await })).collect();
        while holder.inspect("a").await.unwrap().waiters.len() < 32 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        reset(&server);
        let began = clock::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let beats = requests(&server);
        let seconds = (clock::now() - began) as f64 / 1e9;
        // A beat each 2 s to 2.2 s, and the holder's own renewals, none of which is due.
        let most = 32.0 * (seconds / 2.0).ceil();
        assert!((beats as f64) <= most, "{beats} requests in {seconds} s, at most {most}");
        drop(guard);
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    });
}

/// How many cycles go out in one write.
const BATCH: u64 = 64;
/// How many batches are measured at a time: a few milliseconds of the server.
const SLICE: u32 = 24;
/// How many such slices of each kind, in turn.
const SLICES: usize = 80;

/// `SET NX PX`, compare and delete: the lock of the textbook, without token and queue.
fn textbook(server: &RedisServer) -> Pipeline {
    let source = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
    let delete = redis::Script::new(source);
    server.query::<()>(&["SCRIPT", "LOAD", source]);
    let mut batch = redis::pipe();
    for n in 0..BATCH {
        let (key, id) = (format!("leasehold:order:{n}:pay"), ClaimId::new(n, n).to_string());
        batch.cmd("SET").arg(&key).arg(&id).arg("NX").arg("PX").arg(30_000);
        batch.cmd("EVALSHA").arg(delete.get_hash()).arg(1).arg(&key).arg(&id);
    }
    batch
}

/// The same number of our uncontended cycles, as the engine sends them.
fn ours(server: &RedisServer) -> Pipeline {
    let space = Space::new(Space::DEFAULT_PREFIX).unwrap();
    let ms = Duration::from_millis;
    let terms = Terms { ttl: ms(30_000), lock_delay: ms(0), place_life: ms(6_000), place_margin: ms(2_000) };
    let mut batch = redis::pipe();
    for n in 0..BATCH {
        let (name, id) = (ResourceName::new(&format!("order:{n}:pay")).unwrap(), ClaimId::new(n, n));
        let claim = NativeClaim::new(&space, &name, (id, terms));
        batch.cmd("SET").arg(&claim.lock).arg(&claim.value).arg("NX").arg("PX").arg(claim.px_ms);
        batch.cmd("INCR").arg(claim.counter);
        let call = release(&space, &name, (id, Entry::Absent), Manner::Own { keep: Duration::ZERO });
        let hash = redis::Script::new(call.script.source).get_hash().to_owned();
        batch.cmd("EVALSHA").arg(hash).arg(call.keys().len()).arg(call.keys()).arg(call.args());
        if n == 0 {
            server.query::<()>(&["SCRIPT", "LOAD", call.script.source]);
        }
    }
    batch
}

/// The time of the server's own thread that a slice of such batches took, in seconds.
fn server_time(connection: &mut redis::Connection, batch: &Pipeline) -> f64 {
    let used = |connection: &mut redis::Connection| -> f64 {
        let cpu: String = cmd("INFO").arg("cpu").query(connection).unwrap();
        let lines = cpu.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.ends_with("main_thread"));
        lines.map(|(_, seconds)| seconds.trim().parse::<f64>().unwrap()).sum()
    };
    let began = used(connection);
    for _ in 0..SLICE {
        batch.exec(connection).unwrap();
    }
    used(connection) - began
}

/// What a slice takes when nothing disturbs it: what runs beside the server can only add to its time, so a low one of many.
fn undisturbed(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 8]
}

#[test]
fn an_uncontended_cycle_takes_the_server_at_most_1_45_times_that_of_the_textbook() {
    let server = RedisServer::start();
    server.query::<()>(&["SET", "leasehold:\u{1}token", "1700000000000000"]);
    let (textbook, ours) = (textbook(&server), ours(&server));
    let mut connection = server.connection();
    let mut passes = || {
        let slice = |_| (server_time(&mut connection, &ours), server_time(&mut connection, &textbook));
        let (ours, textbook): (Vec<f64>, Vec<f64>) = (0..SLICES).map(slice).unzip();
        let ratio = undisturbed(ours) / undisturbed(textbook);
        println!("server time of a cycle: {ratio:.2} times the textbook's");
        ratio <= 1.45
    };
    assert!((0..3).any(|_| passes()), "see above");
    assert_eq!(server.keys(), ["leasehold:\u{1}token"], "each cycle locked and unlocked");
}

/// How many locks one client holds.
const HELD: u64 = 100_000;

#[test]
fn a_held_lock_costs_its_clients_registry_at_most_130_bytes() {
    let server = RedisServer::start();
    let space = Space::new(Space::DEFAULT_PREFIX).unwrap();
    let mut connection = server.connection();
    for from in (0..HELD).step_by(1_000) {
        let changes: Vec<Change> = (from..from + 1_000).map(held).collect();
        let call = registry(&space, (7, Duration::from_secs(60), "{}"), &[], &changes);
        let mut eval = cmd("EVAL");
        eval.arg(call.script.source).arg(call.keys().len()).arg(call.keys()).arg(call.args());
        eval.exec(&mut connection).unwrap();
    }
    let bytes = server.query::<u64>(&["MEMORY", "USAGE", &space.client(7), "SAMPLES", "0"]) as f64 / HELD as f64;
    println!("a held lock in its client's registry: {bytes:.1} bytes");
    assert!(bytes <= 130.0, "{bytes}");
}

/// A hold as a registry shows it.
fn held(n: u64) -> Change {
    // Digits that look random, as those of a real claim do.
    let claim = ClaimId::new(7, (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let resource = ResourceName::new(&format!("order:{n}:pay")).unwrap();
    Change { claim, age: Duration::ZERO, state: HoldState::Held, token: Token::new(0, 1_700_000_000_000_000 + n), resource }
}

/// How long each holder holds before it hands over.
const HOLD: Duration = Duration::from_millis(20);

/// A list that is popped by whoever waits, by the same client crate: the least that a hand-off through this server can cost.
async fn blpop_hand_offs(server: &RedisServer, count: usize) -> Vec<u64> {
    let client = redis::Client::open(server.url()).unwrap();
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut giver = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    let mut taker = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    let (taken, mut times) = mpsc::unbounded_channel();
    let taking = tokio::spawn(async move {
        for _ in 0..count {
            let _: redis::Value = redis::cmd("BLPOP").arg("baton").arg(0).query_async(&mut taker).await.unwrap();
            taken.send(clock::now()).unwrap();
        }
    });
    let mut spans = Vec::new();
    for _ in 0..count {
        tokio::time::sleep(HOLD).await;
        let given = clock::now();
        let _: redis::Value = redis::cmd("RPUSH").arg("baton").arg("x").query_async(&mut giver).await.unwrap();
        spans.push(times.recv().await.unwrap().saturating_sub(given));
    }
    taking.await.unwrap();
    spans
}

/// The time from the call of a release to the return of the waiter's acquire.
async fn our_hand_offs(url: &str, count: usize) -> Vec<u64> {
    let (one, two) = (Client::connect(url).await.unwrap(), Client::connect(url).await.unwrap());
    let locks = [one.mutex("a").unwrap(), two.mutex("a").unwrap()];
    let mut held = locks[0].acquire().await.unwrap();
    let mut spans = Vec::new();
    for n in 0..count {
        let next = locks[(n + 1) % 2].clone();
        let (granted, mut grant) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let guard = next.acquire().await.unwrap();
            granted.send((clock::now(), guard)).unwrap();
        });
        tokio::time::sleep(HOLD).await;
        let given = clock::now();
        held.release().await.unwrap();
        let (at, guard) = grant.recv().await.unwrap();
        spans.push(at.saturating_sub(given));
        held = guard;
    }
    held.release().await.unwrap();
    spans
}

fn median(spans: &mut [u64]) -> u64 {
    spans.sort_unstable();
    spans[spans.len() / 2]
}

#[test]
fn a_hand_off_takes_at_most_twice_what_a_popped_list_takes() {
    let server = RedisServer::start();
    let runtime = runtime();
    // In turns, so that both meet the same machine; a run that the machine disturbed is repeated, and one that passes is enough.
    // With holds of 3 ms, or against a blocking client's list, the ratio is above 2 still: docs/roadmap.md.
    let passes = || {
        let (mut floor, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            floor.extend(runtime.block_on(blpop_hand_offs(&server, 50)));
            ours.extend(runtime.block_on(our_hand_offs(&server.url(), 50)));
        }
        let (floor, ours) = (median(&mut floor), median(&mut ours));
        println!("release to grant: {} µs, popped list {} µs", ours / 1_000, floor / 1_000);
        ours as f64 / floor as f64 <= 2.0
    };
    assert!((0..4).any(|_| passes()), "see above");
}

#[cfg(feature = "sqlite")]
#[test]
fn a_hand_off_between_clients_of_a_file_takes_at_most_20_ms() {
    let database = support::sqlite::open();
    let mut spans = runtime().block_on(our_hand_offs(&database.url(), 200));
    let median = median(&mut spans);
    println!("release to grant: {} µs", median / 1_000);
    assert!(median <= 20_000_000, "{median} ns");
}

/// Connections of ours, told from the test's own by their name.
fn connections(server: &RedisServer) -> Vec<String> {
    let list: String = server.query(&["CLIENT", "LIST"]);
    list.lines().filter(|line| line.contains("name=leasehold")).map(str::to_owned).collect()
}

#[test]
fn a_thousand_locks_and_128_waiters_share_three_connections_also_after_100_reconnects() {
    let server = RedisServer::start();
    runtime().block_on(async {
        let client = Client::connect(&server.url()).await.unwrap();
        let mut guards = Vec::new();
        for n in 0..1_000 {
            guards.push(client.mutex(format!("held:{n}")).unwrap().acquire().await.unwrap());
        }
        let waiting: Vec<_> = (0..128)
            .map(|n| {
                let lock = client.mutex(format!("held:{n}")).unwrap().cohort(false);
                tokio::spawn(async move { lock.acquire().await })
            })
            .collect();
        while client.list().await.unwrap().iter().filter(|seen| !seen.waiters.is_empty()).count() < 128 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(connections(&server).len() <= 3, "{:?}", connections(&server));
        for _ in 0..100 {
            server.query::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            server.query::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(connections(&server).len() <= 3, "{:?}", connections(&server));
        }
        drop(guards);
        for task in waiting {
            tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap().unwrap();
        }
        assert!(connections(&server).len() <= 3);
        client.shutdown().await;
    });
    assert_eq!(server.keys(), ["leasehold:\u{1}token"]);
}

#[test]
fn a_hundred_acquires_dropped_anywhere_leave_nothing_behind() {
    let server = RedisServer::start();
    runtime().block_on(async {
        let (holder, dropper) = (Client::connect(&server.url()).await.unwrap(), Client::connect(&server.url()).await.unwrap());
        let guard = holder.mutex("held").unwrap().acquire().await.unwrap();
        for n in 0..100u64 {
            // Some on a free lock, some on a held one; after nothing up to a few round trips.
            let lock = dropper.mutex(if n % 3 == 0 { "free" } else { "held" }).unwrap();
            let wait = Duration::from_micros(n * n * 37 % 1_500);
            let acquire = async move { lock.acquire().await };
            let _ = tokio::time::timeout(wait, acquire).await;
        }
        guard.release().await.unwrap();
        let only_ours = |keys: &[String]| keys.iter().all(|key| key.contains("\u{1}client") || key.ends_with("\u{1}token"));
        for _ in 0..400 {
            if only_ours(&server.keys()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(only_ours(&server.keys()), "{:?}", server.keys());
        let channels: Vec<String> = server.query(&["PUBSUB", "CHANNELS"]);
        assert_eq!(channels.len(), 2, "one per client: {channels:?}");
        holder.shutdown().await;
        dropper.shutdown().await;
    });
    assert_eq!(server.keys(), ["leasehold:\u{1}token"]);
}
