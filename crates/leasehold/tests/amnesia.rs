//! A server that forgets a lock: the holder is told at its next renewal, and tokens go on rising.
#![cfg(feature = "redis")]

mod support;

use leasehold::{Client, Guard, LostWhy};
use std::time::Duration;
use support::redis::RedisServer;
use tokio::time::timeout;

/// Renewed every second; its end by time is far away.
const TTL: Duration = Duration::from_secs(3);

/// More than any of this takes on a loaded machine.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_flush_is_told_lost_at_the_next_renewal_and_tokens_rise() {
    let server = RedisServer::start();
    let guard = held(&server).await;

    server.query::<()>(&["FLUSHALL"]);

    is_told_and_followed(&server, &guard, LostWhy::Store).await;
}

#[tokio::test]
async fn an_evicted_lock_is_told_lost_at_the_next_renewal() {
    let server = RedisServer::start();
    let guard = held(&server).await;

    // What an eviction does: the key goes, and nobody is told.
    server.query::<()>(&["DEL", "leasehold:a"]);

    is_told_and_followed(&server, &guard, LostWhy::Store).await;
}

#[tokio::test]
async fn a_restarted_server_without_its_data_tells_lost_and_tokens_rise() {
    let mut server = RedisServer::start();
    let guard = held(&server).await;

    server.kill();
    server.restart();

    is_told_and_followed(&server, &guard, LostWhy::Store).await;
}

#[tokio::test]
async fn a_restarted_server_that_kept_its_data_keeps_the_lock() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let guard = held(&server).await;

    server.kill();
    server.restart();

    let rival = Client::connect(&server.url()).await.unwrap();
    let asked = rival.mutex("a").unwrap().ttl(TTL).acquire_timeout(TTL * 2).await.unwrap();
    assert!(asked.is_none(), "nobody else got it");
    assert!(guard.check(Duration::ZERO).is_ok());
}

async fn held(server: &RedisServer) -> Guard {
    let client = Client::connect(&server.url()).await.unwrap();
    client.mutex("a").unwrap().ttl(TTL).acquire().await.unwrap()
}

async fn is_told_and_followed(server: &RedisServer, guard: &Guard, why: LostWhy) {
    assert_eq!(timeout(SOON, guard.lost()).await.expect("the loss is told"), why);
    let rival = Client::connect(&server.url()).await.unwrap();
    let next = timeout(SOON, rival.mutex("a").unwrap().ttl(TTL).acquire()).await.expect("the lock is free").unwrap();
    assert!(next.token() > guard.token());
}
