//! The Redis engine on a real server: what it costs, what it leaves behind, what it says when it cannot.
#![cfg(feature = "redis")]

mod support;

use futures_util::FutureExt;
use leasehold::engine::{About, ClaimCall, Engine, PartyState, ReleaseCall, Route};
use leasehold::engines::redis::{RedisEngine, RedisOptions};
use leasehold::world::World;
use leasehold::{ClaimId, ErrorKind, ResourceName, Want};
use leasehold_core::{Bound, ClaimReply, Manner, ReleaseReply, RenewReply};
use leasehold_wire::{Detach, Space, detach, registry};
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use support::redis::{RedisServer, count, requests, residue};
use support::redis_client::{Client, PLAIN, eventually, lasting, name};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{Id, try_id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_without_contention_is_two_requests() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    server.query::<()>(&["CONFIG", "RESETSTAT"]);
    for at in 0..100 {
        let (claim, _) = client.hold(&format!("r{at}")).await;
        assert_eq!(client.release_by(&format!("r{at}"), claim, Route::Caller).await.unwrap(), ReleaseReply::Released);
    }
    let requests = requests(&server);
    // Both in one write, and nothing to read where a revocation would be heard.
    assert_eq!((count(&requests, "set"), count(&requests, "incr")), (100, 100), "{requests:?}");
    // By the release script, and once before the channel is left to the other connection.
    assert!((100..=101).contains(&count(&requests, "get")), "{requests:?}");
    // The registry is written besides, once a second.
    let scripts = count(&requests, "evalsha");
    assert!((100..=130).contains(&scripts), "{requests:?}");
    assert_eq!(count(&requests, "eval"), 0);
    assert!(residue(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_handed_on_whatever_its_name_and_prefix() {
    let server = RedisServer::start();
    for prefix in ["leasehold:", "", "app:", "{app}:"] {
        let url = format!("{}?prefix={}", server.url(), prefix.replace('{', "%7B").replace('}', "%7D"));
        let (one, mut other) = (Client::join(&url).await, Client::join(&url).await);
        for name in ["order:123:pay", "{a}b", "b{a}", "a}", "1}", "{leasehold:a}", "a{}b{c}", "ключ"] {
            let (holder, _) = one.hold(name).await;
            let (waiter, _) = other.wait_for(name).await;
            assert_eq!(one.release(name, holder).await.unwrap(), ReleaseReply::Released);
            other.hear_grant(waiter).await;
            assert_eq!(other.release(name, waiter).await.unwrap(), ReleaseReply::Released);
        }
        let keys: Vec<String> = server.query(&["KEYS", "*"]);
        let left = keys.iter().filter(|key| !key.contains("\u{1}token") && !key.contains("\u{1}client"));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<&String>::new(), "{prefix}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_off_is_two_requests_once_contention_was_met() {
    let server = RedisServer::start();
    let (mut one, mut other) = (Client::join(&server.url()).await, Client::join(&server.url()).await);
    let (mut holder, _) = one.hold("r").await;
    // Each client meets contention once.
    let (mut waiter, _) = other.wait_for("r").await;
    let (third, _) = one.wait_for("r").await;
    one.release("r", third).await.unwrap();
    server.query::<()>(&["CONFIG", "RESETSTAT"]);
    for _ in 0..50 {
        one.release("r", holder).await.unwrap();
        other.hear_grant(waiter).await;
        (holder, waiter) = (waiter, one.fresh());
        assert!(matches!(one.ask("r", waiter, (1, true)).await.unwrap(), ClaimReply::Queued(_)));
        std::mem::swap(&mut one, &mut other);
    }
    let requests = requests(&server);
    assert_eq!(count(&requests, "multi"), 0, "{requests:?}");
    let scripts = count(&requests, "evalsha");
    assert!((100..=140).contains(&scripts), "{requests:?}");
    one.release("r", holder).await.unwrap();
    other.hear_grant(waiter).await;
    other.release("r", waiter).await.unwrap();
    assert!(residue(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_grant_names_the_last_ask_and_a_later_token() {
    let server = RedisServer::start();
    let (first, mut second) = (Client::join(&server.url()).await, Client::join(&server.url()).await);
    let (holder, held) = first.hold("r").await;
    let (waiter, ask) = second.wait_for("r").await;
    assert!(matches!(second.ask("r", waiter, (ask.0 + 5, true)).await.unwrap(), ClaimReply::Queued(_)));
    // A beat that was overtaken changes nothing.
    assert!(matches!(second.ask("r", waiter, (ask.0 + 2, true)).await.unwrap(), ClaimReply::Queued(_)));
    first.release("r", holder).await.unwrap();
    let grant = second.hear_grant(waiter).await;
    assert_eq!(grant.bound, Bound::FromAsk(leasehold_core::ReqNo(ask.0 + 5)));
    assert!(grant.token > held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_clients_lock_excludes_and_may_have_no_end() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    server.query::<()>(&["SET", "leasehold:r", "somebody else"]);
    let claim = client.fresh();
    let reply = client.ask("r", claim, (1, false)).await.unwrap();
    let ClaimReply::Busy(contention) = reply else { panic!("{reply:?}") };
    assert_eq!((contention.by, contention.lease_left), (None, None));
    let shown = client.engine.inspect(name("r"), client.within(Duration::from_secs(10))).await.unwrap();
    assert_eq!(shown.holders[0].foreign.as_deref(), Some("somebody else"));
    assert!(matches!(client.ask("r", claim, (2, true)).await.unwrap(), ClaimReply::Queued(_)));
    server.query::<()>(&["DEL", "leasehold:r"]);
    assert!(matches!(client.ask("r", claim, (3, true)).await.unwrap(), ClaimReply::Granted(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_clients_lock_is_left_as_it_is_also_if_its_value_has_as_many_digits_as_a_claim() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    // What redis-py and node-redlock write: 32 hexadecimal digits. They compare before they delete.
    let foreign = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    server.query::<()>(&["SET", "leasehold:r", foreign]);
    let (waiter, _) = client.wait_for("r").await;
    assert_eq!(server.query::<String>(&["GET", "leasehold:r"]), foreign, "its owner must be able to release it");
    let shown = client.engine.inspect(name("r"), client.within(Duration::from_secs(10))).await.unwrap();
    assert_eq!(shown.holders[0].foreign.as_deref(), Some(foreign));
    server.query::<()>(&["DEL", "leasehold:r"]);
    assert!(matches!(client.ask("r", waiter, (3, true)).await.unwrap(), ClaimReply::Granted(_)));
    assert_eq!(client.release("r", waiter).await.unwrap(), ReleaseReply::Released);
    assert!(residue(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_ask_by_script_marks_a_claims_lock_and_leaves_a_foreign_clients() {
    let server = RedisServer::start();
    let (client, other) = (Client::join(&server.url()).await, Client::join(&server.url()).await);
    let first_ask = async |resource: &str| {
        // The client met contention here, so that its next claim asks by script at once.
        let (met, _) = client.wait_for(resource).await;
        client.release(resource, met).await.unwrap();
        server.query::<u64>(&["DEL", &format!("leasehold:{resource}")]);
        client.fresh()
    };
    other.hold("ours").await;
    let waiter = first_ask("ours").await;
    let (holder, _) = other.hold("ours").await;
    assert!(matches!(client.ask("ours", waiter, (1, true)).await.unwrap(), ClaimReply::Queued(_)));
    assert_eq!(other.release("ours", holder).await.unwrap(), ReleaseReply::Released);
    assert!(matches!(client.renew("ours", waiter).await.unwrap(), RenewReply::Renewed(_)), "the lock was handed over");
    client.release("ours", waiter).await.unwrap();

    other.hold("theirs").await;
    let waiter = first_ask("theirs").await;
    for foreign in ["0a1b2c3d4e5f60718293a4b5c6d7e8f9", "anything"] {
        server.query::<()>(&["SET", "leasehold:theirs", foreign]);
        let asked = client.ask("theirs", waiter, (1, true)).await.unwrap();
        assert!(matches!(asked, ClaimReply::Queued(_)), "{asked:?}");
        assert_eq!(server.query::<String>(&["GET", "leasehold:theirs"]), foreign);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_whose_value_has_no_plus_is_renewed_and_passed_on_by_its_owner_all_the_same() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    let (holder, _) = client.hold("r").await;
    let (waiter, _) = client.wait_for("r").await;
    // As the first schema wrote it.
    server.query::<()>(&["SET", "leasehold:r", &holder.to_string(), "KEEPTTL"]);
    assert!(matches!(client.renew("r", holder).await.unwrap(), RenewReply::Renewed(_)));
    assert_eq!(client.release("r", holder).await.unwrap(), ReleaseReply::Released);
    assert!(matches!(client.renew("r", waiter).await.unwrap(), RenewReply::Renewed(_)), "the lock was handed over");
    assert_eq!(client.release("r", waiter).await.unwrap(), ReleaseReply::Released);
    assert!(residue(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_in_use_by_another_kind_of_key_is_a_config_error() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    server.query::<()>(&["HSET", "leasehold:r", "a", "b"]);
    // Who waits learns it by the ask that would queue, which follows the first at once.
    for ask in [(1, false), (2, true)] {
        let error = client.ask("r", client.fresh(), ask).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Config, false), "{error}");
        assert_eq!(error.resource(), Some(&name("r")));
    }
    assert_eq!(server.query::<u32>(&["EXISTS", "leasehold:r"]), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_rights_are_named() {
    let server = RedisServer::start();
    let cases = [
        ("~other:* &* +@all", 1, "the keys ~leasehold:*"),
        ("~* &* +@all -evalsha -eval", 1, "the command EVALSHA"),
        ("~* &* +@all -incr", 1, "the command INCR"),
        // The second ask goes by a script.
        ("~* &* +@all -incrby", 2, "INCRBY, LINDEX, LLEN"),
        ("~* &* +@all -set", 1, "one of the commands GET, PERSIST, SET, TIME"),
    ];
    for (at, (rights, no, missing)) in cases.into_iter().enumerate() {
        let user = format!("u{at}");
        let rights = ["ACL", "SETUSER", &user, "on", ">secret"].into_iter().chain(rights.split(' ')).collect::<Vec<_>>();
        server.query::<()>(&rights);
        let url = format!("redis://{user}:secret@127.0.0.1:{}", server.port());
        let error = match Client::try_join(&url).await {
            Err(error) => error,
            Ok(client) => client.ask("r", client.fresh(), (no, false)).await.unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
        assert!(error.to_string().contains(missing), "{error} must name {missing}");
        assert_eq!(server.query::<u32>(&["EXISTS", "leasehold:r"]), 0, "{missing}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_publish_nothing_is_taken_away_at_once() {
    let server = RedisServer::start();
    server.query::<()>(&["ACL", "SETUSER", "mute", "on", ">secret", "~*", "&*", "+@all", "-publish"]);
    let holder = Client::join(&server.url()).await;
    let mute = Client::join(&format!("redis://mute:secret@127.0.0.1:{}", server.port())).await;
    let (claim, _) = holder.hold("r").await;
    let mut call = ReleaseCall::new(name("r"), claim, Manner::RevokeNow);
    call.io_deadline = mute.within(Duration::from_secs(10));
    let error = mute.engine.release(call).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Permission, false), "{error}");
    assert_eq!(holder.renew("r", claim).await.unwrap().bound(), Some(Bound::FromSend(lasting().ttl)));
    assert_eq!(holder.release("r", claim).await.unwrap(), ReleaseReply::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let server = RedisServer::start();
    let rights = "~leasehold:* &leasehold:* -@all +@read +@write +@scripting +@connection +@pubsub +time +info";
    let words = ["ACL", "SETUSER", "app", "on", ">secret"].into_iter().chain(rights.split(' ')).collect::<Vec<_>>();
    server.query::<()>(&words);
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let (first, mut second) = (Client::join(&url).await, Client::join(&url).await);
    assert!(second.engine.capabilities().push);
    let (holder, _) = first.hold("r").await;
    let (waiter, _) = second.wait_for("r").await;
    first.release("r", holder).await.unwrap();
    second.hear_grant(waiter).await;
    assert_eq!(first.engine.list(first.within(Duration::from_secs(10))).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_subscribe_or_publish_asking_finds_the_grant() {
    let server = RedisServer::start();
    for (user, rights) in [("mute", "-subscribe"), ("deaf", "resetchannels"), ("dumb", "-publish")] {
        server.query::<()>(&["ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all", rights]);
        let url = format!("redis://{user}:secret@127.0.0.1:{}", server.port());
        let (first, second) = (Client::join(&url).await, Client::join(&url).await);
        assert_eq!(second.engine.capabilities().push, user == "dumb");
        let (holder, _) = first.hold("r").await;
        let (waiter, ask) = second.wait_for("r").await;
        assert_eq!(first.release("r", holder).await.unwrap(), ReleaseReply::Released);
        let reply = second.ask("r", waiter, (ask.0 + 1, true)).await.unwrap();
        assert!(matches!(reply, ClaimReply::Granted(_)), "{user}: {reply:?}");
        second.release("r", waiter).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_without_scripts_is_refused_and_one_without_resp3_or_subscriptions_is_not() {
    let server = RedisServer::start_with(&["--rename-command", "EVALSHA", ""]);
    let error = Client::try_join(&server.url()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "redis: the server, or a proxy before it, does not know EVALSHA");
    for command in ["HELLO", "SUBSCRIBE"] {
        let server = RedisServer::start_with(&["--rename-command", command, ""]);
        let client = Client::join(&server.url()).await;
        assert!(!client.engine.capabilities().push, "{command}");
        let (claim, _) = client.hold("r").await;
        assert_eq!(client.release("r", claim).await.unwrap(), ReleaseReply::Released);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn existing_connections_can_be_handed_in() {
    let server = RedisServer::start();
    let port = server.port();
    let options =
        RedisOptions::new().prefix("app:").existing_connections(move || tokio::net::TcpStream::connect(("127.0.0.1", port)));
    let world = World::with_thread("redis").unwrap();
    let about = About { host: "here".into(), pid: 1, program: "test".into(), label: None };
    let engine = RedisEngine::connect("redis://ignored", options, &world, (7, about)).await.unwrap();
    let call = ClaimCall::new(name("r"), ClaimId::new(7, 1), Want::ALL_OF_ONE, lasting());
    assert!(matches!(engine.claim(call).await.unwrap(), ClaimReply::Granted(_)));
    assert_eq!(server.query::<u32>(&["EXISTS", "app:r"]), 1);
}

/// A stream that notes which tasks write to it.
struct Noted(tokio::net::TcpStream, Arc<Mutex<HashSet<Option<Id>>>>);

impl AsyncRead for Noted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.lock().unwrap().insert(try_id());
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_existing_connection_stays_with_its_task() {
    let server = RedisServer::start();
    let port = server.port();
    let [tasks, writers]: [Arc<Mutex<HashSet<Option<Id>>>>; 2] = Default::default();
    let notes = Arc::clone(&writers);
    let connect = move || {
        let notes = Arc::clone(&notes);
        async move { Ok(Noted(tokio::net::TcpStream::connect(("127.0.0.1", port)).await?, notes)) }
    };
    let world = World::with_thread("redis").unwrap();
    let about = About { host: "here".into(), pid: 1, program: "test".into(), label: None };
    let options = RedisOptions::new().existing_connections(connect);
    let engine = RedisEngine::connect("redis://ignored", options, &world, (7, about)).await.unwrap();
    let callers = (1..=20).map(|serial| {
        let (engine, tasks) = (Arc::clone(&engine), Arc::clone(&tasks));
        tokio::spawn(async move {
            let mut call = ClaimCall::new(name(&format!("r{serial}")), ClaimId::new(7, serial), Want::ALL_OF_ONE, lasting());
            call.route = Route::Caller;
            assert!(matches!(engine.claim(call).await.unwrap(), ClaimReply::Granted(_)));
            tasks.lock().unwrap().insert(try_id());
        })
    });
    for caller in callers {
        caller.await.unwrap();
    }
    let (tasks, writers) = (tasks.lock().unwrap(), writers.lock().unwrap());
    assert!(!writers.is_empty() && tasks.is_disjoint(&writers), "{tasks:?} {writers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_or_missing_password_is_a_permission_error_without_the_password() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let port = server.port();
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("redis://:wr0ng@127.0.0.1:{port}"),
        format!("redis://u:wr0ng@127.0.0.1:{port}"),
    ] {
        let error = Client::try_join(&url).await.err().expect("the server refuses it");
        assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
        assert!(!format!("{error} {error:?}").contains("wr0ng"));
    }
    let client = Client::join(&format!("redis://:right@127.0.0.1:{port}")).await;
    client.hold("r").await;
    assert!(!format!("{:?}", client.engine).contains("right"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_too_old_is_named_with_its_version() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut buffer = [0; 65536];
        let hello = "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n6.2.7\r\n";
        // An answer to each request, whatever it is.
        while let Ok(read @ 1..) = socket.read(&mut buffer) {
            let requests = buffer[..read].windows(2).filter(|pair| pair == b"\n*").count() + 1;
            socket.write_all(hello.repeat(requests).as_bytes()).unwrap();
        }
    });
    let error = Client::try_join(&url).await.err().expect("it is too old");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "redis: redis 7.0 or newer is needed, this server is 6.2.7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_and_a_wrong_database_are_told_at_connect() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = Client::try_join(&format!("redis://127.0.0.1:{port}")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.to_string(), format!("redis: no connection to 127.0.0.1:{port}"));
    let server = RedisServer::start();
    let error = Client::try_join(&format!("{}/99", server.url())).await.err().unwrap();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, "redis: the server has no database 99".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_policy_that_endangers_locks_is_warned_of() {
    let server = RedisServer::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let client = Client::join(&server.url()).await;
    assert!(client.engine.warnings()[0].contains("allkeys-lru"));
    let server = RedisServer::start();
    assert!(Client::join(&server.url()).await.engine.warnings().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_serves_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.sock").to_str().unwrap().to_owned();
    let _server = RedisServer::start_with(&["--unixsocket", &path]);
    let client = Client::join(&format!("redis+unix://{path}?db=3&prefix=app:")).await;
    let (claim, _) = client.hold("r").await;
    assert_eq!(client.renew("r", claim).await.unwrap().bound(), Some(Bound::FromSend(lasting().ttl)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_shows_what_it_holds_until_it_closes_and_what_it_detached_longer() {
    let server = RedisServer::start();
    let (first, second) = (Client::join(&server.url()).await, Client::join(&server.url()).await);
    let names = async || {
        let shown = second.engine.list(second.within(Duration::from_secs(10))).await.unwrap();
        shown.into_iter().map(|shown| (shown.resource, shown.holders[0].state, shown.waiters.len())).collect::<Vec<_>>()
    };
    let (kept, _) = first.hold("kept").await;
    first.hold("left").await;
    first.renew_as("kept", kept, true).await.unwrap();
    assert_eq!(names().await[0], (name("kept"), PartyState::Detached, 0), "written before the answer");
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while names().await.len() < 2 {
        assert!(tokio::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.engine.close().await.unwrap();
    let resources: Vec<ResourceName> = names().await.into_iter().map(|(resource, ..)| resource).collect();
    assert_eq!(resources, [name("kept")]);
    assert_eq!(first.engine.claim(first.call("x", first.fresh(), (1, true))).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(second.release("kept", kept).await.unwrap(), ReleaseReply::Released);
    assert!(names().await.is_empty());
}

/// How many writes to hashes there were.
fn hash_writes(server: &RedisServer) -> u64 {
    let stats: String = server.query(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hset:calls="));
    calls.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_list_of_many_locks_is_kept_alive_without_writing_it_again_and_mended_where_it_was_lost() {
    let server = RedisServer::start();
    let client = leasehold::Client::connect(&server.url()).await.unwrap();
    let lock = |n: usize| client.mutex(format!("held:{n:04}")).unwrap().ttl(Duration::from_secs(6));
    let mut held = Vec::new();
    for n in 0..1_200 {
        held.push(lock(n).acquire().await.unwrap());
    }
    let listed = async || client.list().await.unwrap().iter().filter(|seen| seen.holders[0].about.is_some()).count();
    let all_listed = async || {
        for _ in 0..1_000 {
            if listed().await == 1_200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} of 1200 locks are listed", listed().await);
    };
    all_listed().await;
    let before = hash_writes(&server);
    // Three times the life is lengthened meanwhile.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let written = hash_writes(&server) - before;
    assert!((1..=20).contains(&written), "{written} writes to keep the list alive");
    let registry: Vec<String> = server.query(&["KEYS", "*client:*"]);
    server.query::<()>(&["HDEL", &registry[0], &leasehold_wire::registry_field(held[7].claim())]);
    assert_eq!(listed().await, 1_199);
    all_listed().await;
}

#[test]
fn what_is_known_of_clients_ends_with_the_longest_life_and_never_before() {
    let server = RedisServer::start();
    let space = Space::new(Space::DEFAULT_PREFIX).unwrap();
    let (brief, long) = (Duration::from_millis(400), Duration::from_secs(3600));
    let hold = |client, life| Detach { claim: ClaimId::new(client, 7), life, token: None, resource: name("r") };
    let left = |key: &str| server.query::<i64>(&["PTTL", key]);
    for client in 1..=2 {
        server.call(&registry(&space, (client, brief, "{}"), &[], &[]));
        server.call(&detach(&space, &hold(client, brief)));
    }
    assert!((1..=400).contains(&left(&space.clients())), "{}", left(&space.clients()));
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while !server.keys().is_empty() {
        assert!(std::time::Instant::now() < patience, "{:?}", server.keys());
        std::thread::sleep(Duration::from_millis(10));
    }
    // A set without an end, as an older version left it, gets one; what was told to live long is never cut short.
    server.query::<()>(&["ZADD", &space.clients(), "1", "0000000000000009"]);
    server.call(&detach(&space, &hold(1, long)));
    server.call(&registry(&space, (1, brief, "{}"), &[], &[]));
    server.call(&registry(&space, (2, brief, "{}"), &[], &[]));
    server.call(&detach(&space, &hold(2, brief)));
    for key in [space.clients(), space.client(1)] {
        assert!((3_500_000..=3_600_000).contains(&left(&key)), "{key:?} {}", left(&key));
    }
    std::thread::sleep(brief * 2);
    server.call(&registry(&space, (3, brief, "{}"), &[], &[]));
    let clients: Vec<String> = server.query(&["ZRANGE", &space.clients(), "0", "-1"]);
    assert_eq!(clients, ["0000000000000003", "0000000000000001"], "the living, though one of them wrote a shorter life since");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_claims_leave_nothing_once_they_are_released() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    let (holder, _) = client.hold("held").await;
    for at in 0..200u64 {
        for resource in ["held", "free"] {
            let claim = client.fresh();
            let no = 1 + u32::try_from(at % 2).unwrap();
            let ask = client.ask(resource, claim, (no, true));
            // Dropped before it was polled, after its first poll, or somewhere on its way.
            let _ = tokio::time::timeout(Duration::from_micros(at * 3), ask).await;
            client.release_by(resource, claim, if no == 1 { Route::Caller } else { Route::Driver }).await.unwrap();
        }
    }
    client.release("held", holder).await.unwrap();
    assert_eq!(residue(&server), Vec::<String>::new());
}

#[tokio::test]
async fn a_shutdown_waits_for_no_claim_that_was_dropped() {
    let server = RedisServer::start();
    let holder = leasehold::Client::connect(&server.url()).await.unwrap();
    let guard = holder.mutex("held").unwrap().acquire().await.unwrap();
    // After its first poll; later, with the ask under way; both.
    for spans in [[0, 0], [100, 300], [0, 200]] {
        for resource in ["free", "held"] {
            let client = leasehold::Client::connect(&server.url()).await.unwrap();
            drop_acquires(&client, resource, spans).await;
            let begun = std::time::Instant::now();
            client.shutdown().await;
            let took = begun.elapsed();
            assert!(took < Duration::from_millis(1_500), "{resource} {spans:?}: {took:?}");
        }
    }
    guard.release().await.unwrap();
    assert_eq!(residue(&server), Vec::<String>::new());
}

/// Drops twenty acquires, each so many microseconds after its first poll.
async fn drop_acquires(client: &leasehold::Client, resource: &str, spans: [u64; 2]) {
    for at in 0..20 {
        let lock = client.mutex(resource).unwrap();
        let mut acquire = Box::pin(lock.acquire());
        assert!((&mut acquire).now_or_never().is_none());
        let span = Duration::from_micros(spans[at % 2]);
        if !span.is_zero() {
            let _ = tokio::time::timeout(span, acquire).await;
        }
    }
}

#[test]
fn a_verb_may_be_polled_without_any_runtime() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(Client::join(&server.url()));
    // The runtime that connected does not run now: its connection must not be needed.
    let claim = client.fresh();
    let reply = block_on(client.engine.claim(client.call("r", claim, (1, true)))).unwrap();
    assert!(matches!(reply, ClaimReply::Granted(_)));
    let mut call = ReleaseCall::new(name("r"), claim, PLAIN);
    call.route = Route::Caller;
    assert_eq!(block_on(client.engine.release(call)).unwrap(), ReleaseReply::Released);
    drop(runtime);
    let reply = block_on(client.engine.claim(client.call("r", client.fresh(), (1, true)))).unwrap();
    assert!(matches!(reply, ClaimReply::Granted(_)));
    let connections =
        || server.query::<String>(&["CLIENT", "LIST"]).lines().filter(|line| line.contains("name=leasehold")).count();
    assert_eq!(connections(), 1, "a dead runtime keeps no connection open");
}

/// A certificate authority of the test's own and a key pair for `localhost`, as files in `dir`.
#[cfg(feature = "tls")]
fn certificates(dir: &std::path::Path) {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt \
        && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr \
        && printf 'subjectAltName=DNS:localhost' > ext \
        && openssl x509 -req -days 2 -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ext -out server.crt";
    let output = std::process::Command::new("sh").args(["-c", script]).current_dir(dir).output().expect("there is a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_serves_whom_it_can_verify_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let path = |file: &str| dir.path().join(file).to_str().unwrap().to_owned();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (key, certificate, ca) = (path("server.key"), path("server.crt"), path("ca.crt"));
    let options = ["--tls-port", &port.to_string(), "--tls-key-file", &key, "--tls-cert-file", &certificate];
    let server = RedisServer::start_with(&[&options[..], &["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"]].concat());
    let mut client = Client::join(&format!("rediss://localhost:{port}?ca={ca}")).await;
    let (claim, _) = client.hold("r").await;
    client.hear_link_up().await;
    server.query::<u32>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    client.hear_link_up().await;
    assert_eq!(client.renew("r", claim).await.unwrap().bound(), Some(Bound::FromSend(lasting().ttl)));
    for url in [format!("rediss://127.0.0.1:{port}?ca={ca}"), format!("rediss://localhost:{port}")] {
        let error = Client::try_join(&url).await.err().expect("it must not be trusted");
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
}

/// Polls a future on this thread alone.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_more_than_two_connections() {
    let server = RedisServer::start();
    let mut client = Client::join(&server.url()).await;
    client.hear_link_up().await;
    let connections = || server.query::<String>(&["CLIENT", "LIST"]).lines().count() - 1;
    assert_eq!(connections(), 2);
    for at in 0..20 {
        server.query::<u32>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        server.query::<u32>(&["CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes"]);
        client.hear_link_up().await;
        assert!(connections() <= 2);
        let (claim, _) = client.hold(&format!("r{at}")).await;
        client.release(&format!("r{at}"), claim).await.unwrap();
    }
    let back = || server.query::<String>(&["CLIENT", "LIST"]).lines().filter(|line| line.contains("name=leasehold")).count() <= 2;
    eventually("no connection stays behind", back).await;
    drop(client);
    eventually("the last client closes its connections", || connections() == 0).await;
}

#[test]
fn the_blocking_face_works_on_the_only_thread_of_a_runtime() {
    let server = RedisServer::start();
    let url = server.url();
    let (told, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = leasehold::blocking::Client::connect(&url).unwrap();
            let guard = client.mutex("r").unwrap().acquire().unwrap();
            let released = guard.release().unwrap();
            client.shutdown();
            told.send(released).unwrap();
        });
    });
    let released = done.recv_timeout(Duration::from_secs(20)).expect("it must not wait for the thread that it blocks");
    assert_eq!(released, leasehold::Released::Released);
}
