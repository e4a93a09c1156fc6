//! The Redis engine when things go wrong: lost answers, silent networks, flushes, full memory, counters that fall back.
#![cfg(feature = "redis")]

mod support;

use leasehold::engine::{Engine, Notice, ReleaseCall, Route};
use leasehold::{ClaimId, ErrorKind, Instant, Token};
use leasehold_core::{Bound, ClaimReply, ReleaseReply, RenewReply};
use leasehold_wire::Space;
use std::time::Duration;
use support::proxy::Proxy;
use support::redis::RedisServer;
use support::redis_client::{Client, PLAIN, eventually, lasting, name};

const COUNTER: &str = "leasehold:\u{1}token";

fn exists(server: &RedisServer, resource: &str) -> bool {
    let keys = Space::new(Space::DEFAULT_PREFIX).unwrap().keys(&name(resource));
    server.query::<u32>(&["EXISTS", &keys.lock, &keys.queue, &keys.places]) > 0
}

fn token(reply: ClaimReply) -> Token {
    match reply {
        ClaimReply::Granted(grant) => grant.token,
        other => panic!("must be granted, got {other:?}"),
    }
}

/// Polls once.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())).await
}

const RENEWED: fn() -> Option<Bound> = || Some(Bound::FromSend(lasting().ttl));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_was_lost_is_asked_again_and_released_once() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let client = Client::join(&proxy.url()).await;
    let claim = client.fresh();
    proxy.lose_answer_to(b"INCR");
    let error = client.ask("r", claim, (1, true)).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Unavailable, true), "{error}");
    assert!(exists(&server, "r"), "the server has executed it");
    let first = token(client.ask("r", claim, (2, true)).await.unwrap());
    assert!(token(client.ask("r", claim, (3, true)).await.unwrap()) > first);
    assert_eq!(client.release("r", claim).await.unwrap(), ReleaseReply::Released);
    assert!(!exists(&server, "r"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_or_release_whose_answer_was_lost_may_be_repeated() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let mut client = Client::join(&proxy.url()).await;
    client.hear_link_up().await;
    let (claim, _) = client.hold("r").await;
    // Let the registry be written, which names the claim too.
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.lose_answer_to(claim.to_string().as_bytes());
    assert!(client.renew("r", claim).await.unwrap_err().outcome_unknown());
    client.hear_link_up().await;
    assert_eq!(client.renew("r", claim).await.unwrap().bound(), RENEWED());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    proxy.lose_answer_to(claim.to_string().as_bytes());
    assert!(client.release("r", claim).await.unwrap_err().outcome_unknown());
    assert!(!exists(&server, "r"));
    client.hear_link_up().await;
    assert_eq!(client.release("r", claim).await.unwrap(), ReleaseReply::Absent);
}

/// Asks in vain. What the server said before it fell silent may still come in after the first ask, so that is no proof yet.
async fn ask_until_the_link_is_down(client: &mut Client, claim: ClaimId) {
    for no in 2..50 {
        let mut ask = client.call("r", claim, (no, true));
        ask.io_deadline = client.within(Duration::from_millis(200));
        let error = client.engine.claim(ask).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let down = client.hear("the loss of the link", |notice| matches!(notice, Notice::LinkDown).then_some(()));
        if tokio::time::timeout(Duration::from_millis(500), down).await.is_ok() {
            return;
        }
    }
    panic!("silence must be noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_is_noticed_by_the_first_call_that_is_overdue() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let mut client = Client::join(&proxy.url()).await;
    client.hear_link_up().await;
    let (claim, _) = client.hold("r").await;
    proxy.black_hole(true);
    ask_until_the_link_is_down(&mut client, claim).await;
    proxy.black_hole(false);
    client.hear_link_up().await;
    assert_eq!(client.renew("r", claim).await.unwrap().bound(), RENEWED());
    // The claim is unanswered: its release goes out where it can, and is the last word.
    assert_eq!(client.release("r", claim).await.unwrap(), ReleaseReply::Released);
    eventually("nothing is left", || !exists(&server, "r")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_delays_and_loses_nothing() {
    let server = RedisServer::start();
    let mut client = Client::join(&server.url()).await;
    client.hear_link_up().await;
    let (claim, _) = client.hold("r").await;
    server.freeze();
    ask_until_the_link_is_down(&mut client, claim).await;
    server.thaw();
    client.hear_link_up().await;
    assert_eq!(client.renew("r", claim).await.unwrap().bound(), RENEWED());
    assert_eq!(client.release("r", claim).await.unwrap(), ReleaseReply::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_answers_calls_say_so_at_once_and_service_resumes_by_itself() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let mut client = Client::join(&proxy.url()).await;
    client.hear_link_up().await;
    proxy.refuse(true);
    proxy.cut();
    client.hear("the loss of the link", |notice| matches!(notice, Notice::LinkDown).then_some(())).await;
    let error = client.renew("r", client.fresh()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Unavailable, false), "nothing was sent: {error}");
    proxy.refuse(false);
    client.hear_link_up().await;
    client.hold("r").await;
}

#[test]
fn a_release_goes_out_by_the_driver_while_the_callers_runtime_is_blocked() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::join(&server.url()).await;
        let (claim, _) = client.hold("r").await;
        let mut call = ReleaseCall::new(name("r"), claim, PLAIN);
        call.route = Route::Caller;
        call.io_deadline = client.within(Duration::from_millis(300));
        let mut release = client.engine.release(call);
        assert!(is_pending(&mut release).await);
        // This thread is the runtime of the caller's connection: nothing moves there while it waits here.
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while exists(&server, "r") {
            assert!(std::time::Instant::now() < until, "the release must go out by the driver");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(release.await.unwrap(), ReleaseReply::Released);
    });
}

#[test]
fn a_release_whose_caller_went_away_before_it_was_written_goes_out_all_the_same() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let client = Client::join(&server.url()).await;
        let (claim, _) = client.hold("r").await;
        let mut call = ReleaseCall::new(name("r"), claim, PLAIN);
        call.route = Route::Caller;
        call.io_deadline = client.within(Duration::from_secs(60));
        assert!(is_pending(&mut client.engine.release(call)).await);
        client
    });
    // The runtime does not run any more: what it had not written, it never will.
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while exists(&server, "r") {
        assert!(std::time::Instant::now() < until, "the release must go out");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    let (claim, _) = client.hold("r").await;
    server.query::<()>(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.renew("r", claim).await.unwrap().bound(), RENEWED());
    server.query::<()>(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.release("r", claim).await.unwrap(), ReleaseReply::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_loses_holds_and_places_but_no_tokens_order() {
    let server = RedisServer::start();
    let (first, second) = (Client::join(&server.url()).await, Client::join(&server.url()).await);
    let (holder, before) = first.hold("r").await;
    let (waiter, ask) = second.wait_for("r").await;
    server.query::<()>(&["FLUSHALL"]);
    assert_eq!(first.renew("r", holder).await.unwrap(), RenewReply::Lost);
    let after = token(second.ask("r", waiter, (ask.0 + 1, true)).await.unwrap());
    assert!(after > before, "{after} after {before}");
    server.query::<()>(&["FLUSHALL"]);
    let (claim, native) = first.hold("s").await;
    assert!(native > after, "{native} after {after}");
    assert_eq!(first.release("s", claim).await.unwrap(), ReleaseReply::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_with_a_token_below_the_floor_is_no_grant() {
    let server = RedisServer::start();
    let (first, mut second) = (Client::join(&server.url()).await, Client::join(&server.url()).await);
    let (holder, before) = first.hold("r").await;
    let (waiter, ask) = second.wait_for("r").await;
    server.query::<()>(&["SET", COUNTER, "5"]);
    first.release("r", holder).await.unwrap();
    let pick = |notice| match notice {
        Notice::AskAgain(resource) => Some(resource),
        Notice::Granted(grant) => panic!("{grant:?} is no grant"),
        _ => None,
    };
    assert_eq!(second.hear("the hint to ask again", pick).await, name("r"));
    assert!(token(second.ask("r", waiter, (ask.0 + 1, true)).await.unwrap()) > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_stores_clock_is_behind_its_tokens_nothing_is_granted_and_nothing_kept() {
    let server = RedisServer::start();
    let time: Vec<u64> = server.query(&["TIME"]);
    let ahead = (time[0] + 3600) * 1_000_000;
    server.query::<()>(&["SET", COUNTER, &ahead.to_string()]);
    let client = Client::join(&server.url()).await;
    let (claim, token) = client.hold("r").await;
    assert!(token.counter() > ahead);
    client.release("r", claim).await.unwrap();
    server.query::<()>(&["DEL", COUNTER]);
    let claim = client.fresh();
    for no in 1..=2 {
        let error = client.ask("r", claim, (no, true)).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Unavailable, false), "{error}");
        assert!(error.to_string().contains("the store's clock went back by 35"), "{error}");
        assert!(!exists(&server, "r"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_full_memory_nothing_new_is_granted_and_holds_are_renewed_handed_over_and_released() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let (first, mut second) = (Client::join(&server.url()).await, Client::join(&server.url()).await);
    let (holder, before) = first.hold("r").await;
    let (waiter, _) = second.wait_for("r").await;
    server.query::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    for no in 1..=2 {
        let error = first.ask("s", first.fresh(), (no, true)).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Unavailable, false), "{error}");
    }
    assert!(!exists(&server, "s"));
    assert_eq!(first.renew("r", holder).await.unwrap().bound(), RENEWED());
    assert_eq!(first.release("r", holder).await.unwrap(), ReleaseReply::Released);
    let grant = second.hear_grant(waiter).await;
    assert!(grant.token > before);
    assert_eq!(second.renew("r", waiter).await.unwrap().bound(), RENEWED());
    assert_eq!(second.release("r", waiter).await.unwrap(), ReleaseReply::Released);
    assert!(!exists(&server, "r"));
    // A new connection comes up as well.
    Client::join(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_unavailable_and_says_why() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    let (claim, _) = client.hold("r").await;
    // A primary that is not there: the server is a read-only replica from now on.
    server.query::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    for error in [client.renew("r", claim).await.unwrap_err(), client.ask("s", client.fresh(), (1, true)).await.unwrap_err()] {
        assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Unavailable, false), "{error}");
        assert!(error.to_string().contains("replica"), "{error}");
    }
    let error = Client::try_join(&server.url()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    server.query::<()>(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(client.renew("r", claim).await.unwrap().bound(), RENEWED());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_and_never_answers_is_given_up_in_time() {
    let server = RedisServer::start();
    server.freeze();
    let before = std::time::Instant::now();
    let error = Client::try_join(&server.url()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(before.elapsed() < Duration::from_secs(15));
    server.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_goes_out_behind_an_unanswered_claim_on_its_own_connection() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    let claim = client.fresh();
    server.freeze();
    // The claim lies unread in the caller's connection; the release is asked for by the driver's.
    let mut ask = Box::pin(client.ask("r", claim, (1, true)));
    assert!(is_pending(&mut ask).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(ask);
    let mut release = ReleaseCall::new(name("r"), claim, PLAIN);
    release.io_deadline = Instant::FAR;
    let mut release = client.engine.release(release);
    assert!(is_pending(&mut release).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.thaw();
    release.await.unwrap();
    let (claim, _) = client.hold("r").await;
    assert_eq!(client.release("r", claim).await.unwrap(), ReleaseReply::Released);
    assert!(!exists(&server, "r"));
}
