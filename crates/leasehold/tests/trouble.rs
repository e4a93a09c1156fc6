//! What callers of the library see while the server is in trouble: answers in time, correct recovery, nothing left behind.
#![cfg(feature = "redis")]

mod support;

use leasehold::{Client, ErrorKind, Guard, GuardState, LostWhy, Mutex, Released};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::proxy::Proxy;
use support::redis::RedisServer;
use tokio::time::{sleep, timeout};

const TTL: Duration = Duration::from_secs(2);
/// A quarter of the ttl.
const BEAT: Duration = Duration::from_millis(500);
/// What a loaded machine may add to any span.
const SLACK: Duration = Duration::from_millis(1_500);
/// Longer than anything takes that comes at all.
const LONG: Duration = Duration::from_secs(30);

async fn join(url: &str) -> Client {
    Client::connect(url).await.unwrap_or_else(|error| panic!("the server must be reachable: {error}"))
}

fn lock(client: &Client) -> Mutex {
    client.mutex("a").unwrap().ttl(TTL)
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < LONG, "waited in vain for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn waiters(client: &Client, count: usize) {
    until("the line", async || client.inspect("a").await.is_ok_and(|seen| seen.waiters.len() == count)).await;
}

/// Keys that are neither the counter nor a living client's registry.
fn residue(server: &RedisServer) -> Vec<String> {
    server.keys().into_iter().filter(|key| !key.contains("\u{1}client") && !key.ends_with("\u{1}token")).collect()
}

fn nothing_left(server: &RedisServer) -> bool {
    residue(server).is_empty()
}

/// A waiter in line, as a task.
async fn in_line(client: &Client) -> tokio::task::JoinHandle<Guard> {
    let lock = lock(client);
    let waiting = tokio::spawn(async move { lock.acquire().await.unwrap() });
    waiters(client, 1).await;
    waiting
}

async fn granted(waiting: tokio::task::JoinHandle<Guard>) -> Guard {
    timeout(LONG, waiting).await.expect("the waiter is granted").unwrap()
}

/// What `break_it` does to a server or the way to it.
type Fault = (&'static str, fn(&mut RedisServer, &Proxy));

const SILENCES: [Fault; 5] = [
    ("frozen", |server, _| server.freeze()),
    ("black-holed", |_, proxy| proxy.black_hole(true)),
    ("replies lost", |_, proxy| proxy.lose_replies(true)),
    ("killed", |server, _| server.kill()),
    ("cut", |_, proxy| {
        proxy.refuse(true);
        proxy.cut();
    }),
];

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All of them side by side.
async fn all_silences(test: impl Fn(&'static str, fn(&mut RedisServer, &Proxy)) -> Task) {
    let tasks: Vec<_> = SILENCES.into_iter().map(|(fault, break_it)| tokio::spawn(test(fault, break_it))).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_return_within_their_timeout_whatever_is_silent() {
    all_silences(|fault, break_it| Box::pin(calls_return(fault, break_it))).await;
}

async fn calls_return(fault: &'static str, break_it: fn(&mut RedisServer, &Proxy)) {
    let mut server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let client = join(&proxy.url()).await;
    break_it(&mut server, &proxy);
    for timeout in [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(1_200)] {
        let begun = Instant::now();
        let error = lock(&client).acquire_timeout(timeout).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault}: {error}");
        assert!(begun.elapsed() < timeout + SLACK, "{fault}: {timeout:?} took {:?}", begun.elapsed());
    }
    let begun = Instant::now();
    let error = lock(&client).try_acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault}: {error}");
    assert!(begun.elapsed() < BEAT + SLACK, "{fault}: a try took {:?}", begun.elapsed());
    let begun = Instant::now();
    let error = client.inspect("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault}: {error}");
    assert!(begun.elapsed() < Duration::from_secs(2) + SLACK, "{fault}: a look took {:?}", begun.elapsed());
    server.thaw_if_frozen();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_and_goodbyes_end_in_time_whatever_is_silent() {
    all_silences(|fault, break_it| Box::pin(goodbyes_end(fault, break_it))).await;
}

async fn goodbyes_end(fault: &'static str, break_it: fn(&mut RedisServer, &Proxy)) {
    let mut server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let hold = async |ttl: Duration| {
        let client = join(&proxy.url()).await;
        let guard = client.mutex(format!("{}", ttl.as_secs())).unwrap().ttl(ttl).acquire().await.unwrap();
        (client, guard)
    };
    let (_kept, released) = hold(TTL).await;
    let (shut, held) = hold(Duration::from_secs(60)).await;
    let dropped = hold(Duration::from_secs(61)).await;
    break_it(&mut server, &proxy);
    let begun = Instant::now();
    let answer = released.release().await;
    assert!(begun.elapsed() < BEAT + SLACK, "{fault}: a release took {:?}: {answer:?}", begun.elapsed());
    let begun = Instant::now();
    drop(dropped);
    assert!(begun.elapsed() < Duration::from_millis(200) + SLACK, "{fault}: a drop took {:?}", begun.elapsed());
    let begun = Instant::now();
    shut.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(2) + SLACK, "{fault}: a shutdown took {:?}", begun.elapsed());
    drop(held);
    server.thaw_if_frozen();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reset_during_a_renewal_loses_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let client = join(&proxy.url()).await;
    let guard = lock(&client).acquire().await.unwrap();
    let losses = Arc::new(AtomicUsize::new(0));
    let counted = losses.clone();
    guard.on_lost(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    // The registry's writer names the claim too, so once is not enough to meet a renewal.
    for _ in 0..4 {
        proxy.lose_answer_to(guard.claim().to_string().as_bytes());
        until("a renewal that is cut off", async || proxy.has_lost_it()).await;
        let cut_at = guard.deadline();
        until("a renewal that comes through", async || guard.deadline() > cut_at || guard.state() == GuardState::Lost).await;
        assert_ne!(guard.state(), GuardState::Lost);
    }
    assert_eq!(losses.load(Ordering::SeqCst), 0);
    assert_eq!(guard.release().await.unwrap(), Released::Released);
    assert_eq!(residue(&server), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_in_the_middle_of_a_claim_costs_a_repeat_and_leaks_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let client = join(&proxy.url()).await;
    for round in 0..5 {
        proxy.lose_answer_to(b"INCR");
        let begun = Instant::now();
        let guard = timeout(LONG, lock(&client).acquire()).await.unwrap().unwrap();
        assert!(proxy.has_lost_it(), "the claim of round {round} was cut off");
        assert!(begun.elapsed() < TTL + SLACK, "the own lost claim was waited for: {:?}", begun.elapsed());
        assert_eq!(guard.release().await.unwrap(), Released::Released);
        assert_eq!(residue(&server), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_whose_answer_is_lost_leaks_no_hold() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let client = join(&proxy.url()).await;
    proxy.lose_answer_to(b"INCR");
    let error = lock(&client).ttl(Duration::from_secs(600)).try_acquire().await.unwrap_err();
    assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Unavailable, true), "{error}");
    until("the end of the hold that nobody has", async || nothing_left(&server)).await;
}

/// Takes the lock away from `acquiring` after the server has set it and before it has counted the token, and lets another in:
/// nobody is told of a hold, with the larger token of the two, before that other has ended.
async fn a_claim_is_cut_in_two(acquiring: impl Future<Output = Guard>, server: &RedisServer, proxy: &Proxy) {
    let operator = join(&server.url()).await;
    let over = AtomicUsize::new(0);
    proxy.hold_back_from(b"*2\r\n$4\r\nINCR");
    let meanwhile = async {
        until("the first half of the claim", async || !nothing_left(server)).await;
        assert_eq!(operator.revoke("a", true).await.unwrap(), 1);
        let second = lock(&operator).acquire().await.unwrap();
        proxy.let_go();
        sleep(BEAT).await;
        let token = second.token();
        over.store(1, Ordering::SeqCst);
        assert_eq!(second.release().await.unwrap(), Released::Released);
        token
    };
    let acquiring = async {
        let guard = acquiring.await;
        assert_eq!(over.load(Ordering::SeqCst), 1, "{} is told while another holds", guard.token());
        guard
    };
    let (first, second) = tokio::join!(acquiring, meanwhile);
    assert!(first.token() > second, "{} behind {second}", first.token());
    assert_ne!(first.state(), GuardState::Lost);
    first.release().await.unwrap();
    until("the end of all holds", async || nothing_left(server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_taken_away_before_its_token_is_counted_is_never_told() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let client = join(&proxy.url()).await;
    let lock = client.mutex("a").unwrap().ttl(Duration::from_secs(60));
    a_claim_is_cut_in_two(async { lock.acquire().await.unwrap() }, &server, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_it_where_no_word_of_it_is_heard() {
    let server = RedisServer::start();
    server.query::<()>(&["ACL", "SETUSER", "deaf", "on", ">x", "~*", "+@all", "resetchannels"]);
    let proxy = Proxy::to(server.port());
    let client = join(&proxy.url().replace("//", "//deaf:x@")).await;
    let lock = client.mutex("a").unwrap().ttl(Duration::from_secs(60));
    a_claim_is_cut_in_two(async { lock.acquire().await.unwrap() }, &server, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_in_the_middle_of_a_release_keeps_nobody_out() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let client = join(&proxy.url()).await;
    let guard = lock(&client).ttl(Duration::from_secs(600)).acquire().await.unwrap();
    // Let the registry be written, which names the claim too.
    sleep(Duration::from_millis(1_500)).await;
    proxy.lose_answer_to(guard.claim().to_string().as_bytes());
    let answer = guard.release().await;
    assert!(proxy.has_lost_it());
    // The store has acted, and its word was lost: either is honest.
    assert!(
        matches!(&answer, Ok(Released::Released | Released::Gone)) || answer.as_ref().is_err_and(|error| error.outcome_unknown()),
        "{answer:?}"
    );
    until("the end of the hold", async || nothing_left(&server)).await;
    assert!(lock(&client).try_acquire().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_while_held_and_waited_for_is_told_and_a_stale_guard_hurts_nobody() {
    let server = RedisServer::start();
    let (one, two) = (join(&server.url()).await, join(&server.url()).await);
    let guard = lock(&one).acquire().await.unwrap();
    let waiting = in_line(&two).await;
    server.query::<()>(&["FLUSHALL"]);
    let next = granted(waiting).await;
    assert!(next.token() > guard.token());
    assert_eq!(timeout(LONG, guard.lost()).await.unwrap(), LostWhy::Store);
    let claim = next.claim();
    assert_eq!(guard.release().await.unwrap(), Released::Taken { by: Some(claim) });
    assert_eq!(server.query::<String>(&["GET", "leasehold:a"]), format!("{claim}+"));
    next.check(Duration::ZERO).unwrap();
    assert_eq!(next.release().await.unwrap(), Released::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_guard_never_deletes_its_successors_hold() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let (one, two) = (join(&proxy.url()).await, join(&server.url()).await);
    let guard = lock(&one).acquire().await.unwrap();
    let waiting = in_line(&two).await;
    // What the old holder had on its way arrives after its successor's grant.
    proxy.black_hole(true);
    let next = granted(waiting).await;
    let begun = Instant::now();
    let late = guard.release().await.unwrap();
    assert!(matches!(late, Released::Expired), "{late:?}");
    assert!(begun.elapsed() < Duration::from_millis(250) + SLACK, "an expired lock is released at once");
    proxy.black_hole(false);
    sleep(TTL * 2).await;
    next.check(Duration::ZERO).unwrap();
    let value = server.query::<String>(&["GET", "leasehold:a"]);
    assert!(value.starts_with(&next.claim().to_string()), "{value}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_cost_nothing_while_held_and_waited_for() {
    let server = RedisServer::start();
    let (one, two) = (join(&server.url()).await, join(&server.url()).await);
    let guard = lock(&one).acquire().await.unwrap();
    let waiting = in_line(&two).await;
    for _ in 0..20 {
        server.query::<()>(&["SCRIPT", "FLUSH"]);
        sleep(TTL / 10).await;
    }
    assert_eq!(guard.state(), GuardState::Held);
    assert_eq!(guard.release().await.unwrap(), Released::Released);
    assert_eq!(granted(waiting).await.release().await.unwrap(), Released::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_its_data_is_waited_for_and_named() {
    // Ten milliseconds for each key.
    let options = ["--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = RedisServer::start_with(&options);
    let mut pipe = redis::pipe();
    for at in 0..400 {
        pipe.cmd("SET").arg(format!("filler:{at}")).arg("x".repeat(100));
    }
    pipe.exec(&mut server.connection()).unwrap();
    let client = join(&server.url()).await;
    let guard = client.mutex("held").unwrap().ttl(Duration::from_secs(30)).acquire().await.unwrap();
    server.query::<()>(&["SAVE"]);
    server.kill();
    server.restart();
    let error = Client::connect(&server.url()).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Unavailable, "redis: the server is loading its data".to_owned()));
    let error = lock(&client).acquire_timeout(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let acquired = timeout(LONG, lock(&client).acquire()).await.expect("loading ends").unwrap();
    guard.check(Duration::ZERO).unwrap();
    assert_eq!(acquired.release().await.unwrap(), Released::Released);
    assert_eq!(guard.release().await.unwrap(), Released::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_became_a_replica_is_waited_for_and_the_holder_is_told_in_time() {
    let server = RedisServer::start();
    let client = join(&server.url()).await;
    let guard = lock(&client).acquire().await.unwrap();
    // A primary that is not there: the server is a read-only replica from now on.
    server.query::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = client.mutex("b").unwrap().ttl(TTL).try_acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("replica"), "{error}");
    assert_eq!(timeout(TTL + SLACK, guard.lost()).await.expect("told in time"), LostWhy::Expired);
    let waiting = tokio::spawn({
        let lock = lock(&client);
        async move { lock.acquire().await.unwrap() }
    });
    sleep(BEAT).await;
    assert!(!waiting.is_finished());
    server.query::<()>(&["REPLICAOF", "NO", "ONE"]);
    granted(waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_full_memory_holds_go_on_and_new_ones_are_refused_until_there_is_room() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let (one, two) = (join(&server.url()).await, join(&server.url()).await);
    let guard = lock(&one).acquire().await.unwrap();
    let waiting = in_line(&two).await;
    server.query::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = one.mutex("b").unwrap().ttl(TTL).acquire_timeout(BEAT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("memory"), "{error}");
    sleep(TTL * 2).await;
    assert_eq!(guard.state(), GuardState::Held);
    assert_eq!(guard.release().await.unwrap(), Released::Released);
    server.query::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    let next = granted(waiting).await;
    assert!(one.mutex("b").unwrap().ttl(TTL).try_acquire().await.unwrap().is_some());
    assert_eq!(next.release().await.unwrap(), Released::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_subscribe_a_waiter_is_granted_by_its_beat() {
    let server = RedisServer::start();
    for (user, rights) in [("mute", "-subscribe"), ("deaf", "resetchannels"), ("dumb", "-publish")] {
        server.query::<()>(&["ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all", rights]);
        let url = format!("redis://{user}:secret@127.0.0.1:{}", server.port());
        let (one, two) = (join(&url).await, join(&url).await);
        let guard = lock(&one).acquire().await.unwrap();
        let waiting = in_line(&two).await;
        guard.release().await.unwrap();
        let begun = Instant::now();
        let next = granted(waiting).await;
        assert!(begun.elapsed() < BEAT + SLACK, "{user}: {:?}", begun.elapsed());
        next.release().await.unwrap();
    }
}

/// Requests by scripts and transactions so far.
fn requests(server: &RedisServer) -> u64 {
    let stats: String = server.query(&["INFO", "commandstats"]);
    let calls = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")))?;
        line.split(',').next()?.parse::<u64>().ok()
    };
    ["exec", "evalsha", "eval"].into_iter().filter_map(calls).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_clients_key_without_expiry_is_waited_for_by_beats_alone() {
    let server = RedisServer::start();
    server.query::<()>(&["SET", "leasehold:a", "somebody else", "NX"]);
    let client = join(&server.url()).await;
    let waiting = in_line(&client).await;
    let (begun, before) = (Instant::now(), requests(&server));
    sleep(Duration::from_secs(4)).await;
    let made = requests(&server) - before;
    // A beat each 0.4 to 0.5 s, the registry once per second, and the edges.
    let most = begun.elapsed().as_secs_f64() * (1.0 / 0.4 + 1.0) + 3.0;
    assert!(made as f64 <= most, "{made} requests in {:?}", begun.elapsed());
    let seen = client.inspect("a").await.unwrap();
    assert_eq!(seen.holders[0].foreign.as_deref(), Some("somebody else"));
    assert_eq!(seen.holders[0].lease_left, None);
    assert!(client.list().await.is_ok());
    server.query::<()>(&["DEL", "leasehold:a"]);
    let begun = Instant::now();
    let guard = granted(waiting).await;
    assert!(begun.elapsed() < BEAT + SLACK, "{:?}", begun.elapsed());
    assert_eq!(guard.release().await.unwrap(), Released::Released);
    assert_eq!(residue(&server), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_set_nx_px_and_we_exclude_each_other() {
    let server = RedisServer::start();
    let client = join(&server.url()).await;
    let set = || server.query::<Option<String>>(&["SET", "leasehold:a", "foreign", "NX", "PX", "1500"]);
    let guard = lock(&client).acquire().await.unwrap();
    for _ in 0..10 {
        assert_eq!(set(), None, "the key is ours");
        sleep(TTL / 5).await;
    }
    guard.release().await.unwrap();
    assert_eq!(set().as_deref(), Some("OK"));
    let begun = Instant::now();
    assert!(lock(&client).try_acquire().await.unwrap().is_none());
    let guard = lock(&client).acquire().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(1_300), "the foreign lease was cut short: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_millis(1_500) + BEAT + SLACK, "{:?}", begun.elapsed());
    guard.release().await.unwrap();
}

/// A proxy that knows no `HELLO` with arguments, and says so in words of its own.
fn without_hello(server_port: u16, refusal: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(("127.0.0.1", server_port)).unwrap();
            let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
            thread::spawn(move || refuse_hello(client, server, refusal));
        }
    });
    port
}

fn refuse_hello(mut client: TcpStream, mut server: TcpStream, refusal: &str) {
    let mut buffer = [0; 65536];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        // It comes first on a connection, and alone.
        let refused = buffer[..read].starts_with(b"*2\r\n$5\r\nHELLO") || buffer[..read].starts_with(b"*5\r\n$5\r\nHELLO");
        let passed = if refused { client.write_all(refusal.as_bytes()) } else { server.write_all(&buffer[..read]) };
        if passed.is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_hello_in_its_own_words_is_polled() {
    let server = RedisServer::start();
    let refusals = ["-ERR unsupported command 'hello'\r\n", "-ERR wrong number of arguments\r\n", "-NOPROTO no\r\n", "-ERR\r\n"];
    for refusal in refusals {
        let url = format!("redis://127.0.0.1:{}", without_hello(server.port(), refusal));
        let (one, two) = (join(&url).await, join(&url).await);
        let guard = lock(&one).acquire().await.unwrap();
        let waiting = in_line(&two).await;
        guard.release().await.unwrap();
        let begun = Instant::now();
        let next = granted(waiting).await;
        assert!(begun.elapsed() < BEAT + SLACK, "{refusal}: {:?}", begun.elapsed());
        next.release().await.unwrap();
    }
}

#[test]
fn a_blocked_worker_thread_holds_back_no_request_of_the_others() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect(&server.url()).await.unwrap();
        let mut longest = Duration::ZERO;
        for round in 0..5 {
            longest = longest.max(tokio::spawn(beside_a_blocker(client.clone(), round)).await.unwrap());
            sleep(BLOCKED).await;
        }
        assert!(longest < BLOCKED / 5 * 4, "{longest:?}");
    });
}

const BLOCKED: Duration = Duration::from_millis(800);

/// The longest of some acquires that are begun on one worker thread, before and after a task that blocks it.
async fn beside_a_blocker(client: Client, round: u32) -> Duration {
    let mut tasks = Vec::new();
    for n in 0..6 {
        let lock = client.mutex(format!("r{round}:{n}")).unwrap();
        tasks.push(tokio::spawn(async move {
            let began = std::time::Instant::now();
            let guard = lock.acquire().await.unwrap();
            let took = began.elapsed();
            guard.release().await.unwrap();
            took
        }));
        if n == 4 {
            tokio::spawn(async { std::thread::sleep(BLOCKED) });
        }
    }
    let mut longest = Duration::ZERO;
    for task in tasks {
        longest = longest.max(task.await.unwrap());
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_whose_server_stood_still_past_its_place_stands_in_line_once() {
    let server = RedisServer::start();
    server.query::<()>(&["SET", "leasehold:a", "foreign"]);
    let client = join(&server.url()).await;
    let waiting = in_line(&client).await;
    // Its beats are run when its place is over, and those of its next connection behind them.
    server.freeze();
    sleep(BEAT * 5).await;
    server.thaw();
    until("a place", async || client.inspect("a").await.is_ok_and(|seen| !seen.waiters.is_empty())).await;
    for _ in 0..20 {
        sleep(BEAT / 5).await;
        let seen = client.inspect("a").await.unwrap();
        assert!(seen.waiters.len() <= 1, "{:?}", seen.waiters);
    }
    waiting.abort();
    until("its place to be given up", async || residue(&server) == ["leasehold:a"]).await;
}
