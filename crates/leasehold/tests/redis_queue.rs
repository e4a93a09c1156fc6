//! The queue of a lock on a Redis server: who comes next, who is found again, what is left behind.
#![cfg(feature = "redis")]

mod support;

use leasehold::ClaimId;
use leasehold::engine::Engine;
use leasehold_core::{Ask, ClaimReply, ReleaseReply, RenewReply, ReqNo};
use leasehold_wire::{Claimed, Ended, Entry, Push, Reply, Space, claim, claimed, release, released};
use std::future::poll_fn;
use std::task::Poll;
use support::redis::{RedisServer, count, requests, residue};
use support::redis_client::{Client, PATIENCE, PLAIN, eventually, lasting, name};

/// Of the lock that all of these tests are about.
fn queue() -> String {
    Space::new(Space::DEFAULT_PREFIX).unwrap().keys(&name("r")).queue
}

/// What its later asks have made of places.
fn places() -> String {
    Space::new(Space::DEFAULT_PREFIX).unwrap().keys(&name("r")).places
}

fn now_us(server: &RedisServer) -> u64 {
    let (seconds, micros): (u64, u64) = server.query(&["TIME"]);
    seconds * 1_000_000 + micros
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_full_of_dead_entries_is_passed_in_bounded_steps() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    let (holder, _) = client.hold("r").await;
    let (waiter, _) = client.wait_for("r").await;
    for at in 0..450 {
        let dead = if at % 2 == 0 { format!("{:016} {at:032x} 1 1000000 0 0", 1) } else { format!("foreign {at}") };
        server.query::<u64>(&["LPUSH", &queue(), &dead]);
    }
    assert_eq!(client.release("r", holder).await.unwrap(), ReleaseReply::Released);
    assert!(matches!(client.renew("r", waiter).await.unwrap(), RenewReply::Renewed(_)), "the waiter behind them is granted");
    client.release("r", waiter).await.unwrap();
    assert!(residue(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_that_passed_the_queue_hands_over_to_it_once_a_waiter_has_asked_again() {
    let server = RedisServer::start();
    let (client, newcomer) = (Client::join(&server.url()).await, Client::join(&server.url()).await);
    client.hold("r").await;
    let (waiter, _) = client.wait_for("r").await;
    // As if the holder's lease had ended: the newcomer asks by native commands, which know of no queue.
    server.query::<u64>(&["DEL", "leasehold:r"]);
    let (passed, _) = newcomer.hold("r").await;
    let beat = client.ask("r", waiter, (2, true)).await.unwrap();
    assert!(matches!(beat, ClaimReply::Queued(_)), "{beat:?}");
    assert_eq!(newcomer.release("r", passed).await.unwrap(), ReleaseReply::Released);
    assert!(matches!(client.renew("r", waiter).await.unwrap(), RenewReply::Renewed(_)), "the lock was handed over");
    client.release("r", waiter).await.unwrap();
    assert!(residue(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_nobody_waits_for_any_more_is_released_like_any_other() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    let (holder, _) = client.hold("r").await;
    let (waiter, _) = client.wait_for("r").await;
    client.release("r", waiter).await.unwrap();
    assert!(matches!(client.renew("r", holder).await.unwrap(), RenewReply::Renewed(_)));
    assert_eq!(client.release("r", holder).await.unwrap(), ReleaseReply::Released);
    assert_eq!(client.release("r", holder).await.unwrap(), ReleaseReply::Absent);
    assert!(residue(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_that_are_all_late_are_passed_in_bounded_steps_and_keep_their_order() {
    // Where all of them were passed, the queue was gone in between, and its end with it.
    for waiters in [10, 1_000] {
        let server = RedisServer::start();
        let client = Client::join(&server.url()).await;
        let (holder, _) = client.hold("r").await;
        client.wait_for("r").await;
        server.query::<u64>(&["DEL", &queue()]);
        let (made, life) = (now_us(&server), 30_000_000);
        for at in 0..waiters {
            server.query::<u64>(&["RPUSH", &queue(), &format!("{} {at:032x} 1 {} 90000000 0", made + at, life - at)]);
        }
        server.query::<()>(&["PEXPIRE", &queue(), "40000"]);
        let entries = || server.query::<Vec<String>>(&["LRANGE", &queue(), "0", "-1"]);
        let before = entries();
        server.query::<()>(&["CONFIG", "RESETSTAT"]);
        assert_eq!(client.release("r", holder).await.unwrap(), ReleaseReply::Released);
        let popped = count(&requests(&server), "lpop");
        assert!((1..=101).contains(&popped), "{popped}");
        assert_eq!(entries(), before);
        assert_eq!(server.query::<u32>(&["EXISTS", "leasehold:r"]), 0, "nobody was granted");
        let end: u64 = server.query(&["PEXPIRETIME", &queue()]);
        assert!(end * 1_000 > made + life, "{end} ms, and the latest place ends at {} µs", made + life);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_lives_longer_than_its_latest_place_but_not_for_ever() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    client.hold("r").await;
    let life = u64::try_from(lasting().place_life.as_micros()).unwrap();
    let end = || server.query::<u64>(&["PEXPIRETIME", &queue()]) * 1_000;
    let mut waiter = None;
    for first in [true, true, true, false] {
        let before = now_us(&server);
        if first {
            waiter = Some(client.wait_for("r").await.0);
        } else {
            client.ask("r", waiter.unwrap(), (3, true)).await.unwrap();
        }
        assert!(end() >= before + life, "{before} {}", end());
        assert!(end() <= now_us(&server) + 2 * life + 1_000_000, "{}", end());
        // As if so much time had passed that the next place ends later than these.
        server.query::<()>(&["PEXPIRE", &queue(), &(life / 1_000 - 1_000).to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawals_leave_nothing_in_the_queue() {
    let server = RedisServer::start();
    let client = Client::join(&server.url()).await;
    let (holder, _) = client.hold("r").await;
    let mut waiters = Vec::new();
    for _ in 0..200 {
        waiters.push(client.wait_for("r").await.0);
    }
    let last = waiters.remove(100);
    for waiter in waiters {
        assert_eq!(client.release("r", waiter).await.unwrap(), ReleaseReply::Released);
    }
    assert_eq!(server.query::<u32>(&["LLEN", &queue()]), 1);
    client.release("r", holder).await.unwrap();
    assert_eq!(client.release("r", last).await.unwrap(), ReleaseReply::Released);
    assert!(residue(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_was_lost_takes_every_waiter_in_again() {
    let server = RedisServer::start();
    let mut client = Client::join(&server.url()).await;
    let (holder, _) = client.hold("r").await;
    let ((first, no), (second, _)) = (client.wait_for("r").await, client.wait_for("r").await);
    server.query::<()>(&["DEL", &queue()]);
    for claim in [second, first] {
        assert!(matches!(client.ask("r", claim, (no.0 + 1, true)).await.unwrap(), ClaimReply::Queued(_)));
    }
    client.release("r", holder).await.unwrap();
    client.hear_grant(second).await;
    client.release("r", second).await.unwrap();
    client.hear_grant(first).await;
    client.release("r", first).await.unwrap();
    assert!(residue(&server).is_empty());
}

fn ask(server: &RedisServer, serial: u64, (entry, no): (Entry, u32)) -> u64 {
    let ask = Ask { no: ReqNo(no), first: no == 1, wait: true, spare: 0 };
    let call = claim(&Space::new(Space::DEFAULT_PREFIX).unwrap(), &name("r"), (ClaimId::new(1, serial), entry), (lasting(), ask));
    let redis::Value::BulkString(text) = server.call(&call) else { panic!("{serial} must be queued") };
    match claimed(Reply::Bytes(text)).unwrap() {
        Claimed::Queued(_, made) => made,
        other => panic!("{other:?}"),
    }
}

fn withdraw(server: &RedisServer, serial: u64, entry: Entry) -> Ended {
    let call = release(&Space::new(Space::DEFAULT_PREFIX).unwrap(), &name("r"), (ClaimId::new(1, serial), entry), PLAIN);
    match server.call(&call) {
        redis::Value::Int(number) => released(Reply::Int(number)).unwrap(),
        // That another holds.
        redis::Value::Array(_) => Ended::Absent,
        other => panic!("{other:?}"),
    }
}

/// Who waits, in order.
fn waiting(server: &RedisServer) -> Vec<u64> {
    let entries: Vec<String> = server.query(&["LRANGE", &queue(), "0", "-1"]);
    entries.iter().map(|entry| u64::from_str_radix(&entry[33..49], 16).unwrap()).collect()
}

/// A server with the lock held by a foreign client.
fn held() -> RedisServer {
    let server = RedisServer::start();
    server.query::<()>(&["SET", "leasehold:r", "foreign"]);
    server
}

/// Entries that were made at these times from some moment on, of the claims 1, 2 and so on; when that was.
fn fill(server: &RedisServer, times: &[u64]) -> u64 {
    let begun = now_us(server) - 10_000_000;
    for (at, time) in (1..).zip(times) {
        let entry = format!("{} {:016x}{at:016x} 1 60000000 1000000 0", begun + time, 1);
        server.query::<u64>(&["RPUSH", &queue(), &entry]);
    }
    begun
}

#[test]
fn an_entry_is_found_by_when_it_was_made_however_unevenly_they_came() {
    let evenly: Vec<u64> = (0..300).map(|at| at * 10).collect();
    let in_a_burst: Vec<u64> = (0..300).map(|at| if at < 5 { at * 1_000_000 } else { 5_000_000 + at }).collect();
    let slower_and_slower: Vec<u64> = (0..300).map(|at: u64| at * at * 100).collect();
    for times in [evenly, in_a_burst, slower_and_slower, vec![0], vec![0, 7]] {
        let server = held();
        let begun = fill(&server, &times);
        server.query::<()>(&["CONFIG", "RESETSTAT"]);
        let mut left: Vec<u64> = (1..=times.len() as u64).collect();
        // From everywhere, in an order that is none.
        for step in 0..times.len() as u64 {
            let serial = (step * 7 + 3) % times.len() as u64 + 1;
            let made = begun + times[serial as usize - 1];
            assert_eq!(withdraw(&server, serial, Entry::Made(made - 1)), Ended::Absent, "{serial}");
            assert_eq!(withdraw(&server, 7_777, Entry::Made(made)), Ended::Absent, "of another claim");
            assert_eq!(ask(&server, serial, (Entry::Made(made), 2)), made, "{serial} keeps its place");
            assert_eq!(waiting(&server), left);
            assert_eq!(withdraw(&server, serial, Entry::Made(made)), Ended::Released, "{serial}");
            left.retain(|other| *other != serial);
            assert_eq!(waiting(&server), left);
        }
        // Two at the ends, halves of 300, and a guess before each.
        let looks = count(&requests(&server), "lindex");
        assert!(looks <= 4 * times.len() as u64 * (2 + 9 + 9), "{looks} for {} entries", times.len());
    }
}

#[test]
fn an_entry_that_may_be_any_is_searched_for() {
    let server = held();
    let times: Vec<u64> = (0..200).collect();
    let begun = fill(&server, &times);
    for serial in [1, 2, 100, 199, 200] {
        assert_eq!(ask(&server, serial, (Entry::Unknown(0), 2)), begun + serial - 1, "it keeps its place");
        assert_eq!(waiting(&server).len(), 200);
        assert_eq!(withdraw(&server, serial, Entry::Unknown(0)), Ended::Released);
        assert_eq!(withdraw(&server, serial, Entry::Unknown(0)), Ended::Absent);
        assert!(ask(&server, serial, (Entry::Unknown(0), 3)) > begun + 200, "it had none");
        assert_eq!(waiting(&server).last(), Some(&serial));
    }
    assert_eq!(waiting(&server).len(), 200);
}

#[test]
fn an_entry_that_is_likely_is_searched_for_only_if_it_is_another() {
    let server = held();
    let begun = fill(&server, &[0, 1, 2, 3]);
    server.query::<()>(&["CONFIG", "RESETSTAT"]);
    assert_eq!(withdraw(&server, 2, Entry::Likely(begun + 1, 0)), Ended::Released);
    assert_eq!(count(&requests(&server), "lrange"), 0);
    assert_eq!(withdraw(&server, 3, Entry::Likely(begun + 1, 0)), Ended::Released);
    assert_eq!(waiting(&server), [1, 4]);
}

#[test]
fn of_a_long_queue_only_what_may_be_the_entry_is_read() {
    let server = held();
    let times: Vec<u64> = (0..2_000).collect();
    let begun = fill(&server, &times);
    // By sixteen, and four times as many each time.
    for (serial, since) in [(1_990, 1_999), (1_950, 1_940), (1_800, 1_700)] {
        assert_eq!(withdraw(&server, serial, Entry::Unknown(begun + since)), Ended::Released);
    }
    assert_eq!(withdraw(&server, 1_000, Entry::Unknown(begun + 1_990)), Ended::Absent);
    assert_eq!(withdraw(&server, 1_000, Entry::Unknown(begun + 1_000)), Ended::Released);
}

#[test]
fn an_ask_behind_one_that_entered_anew_and_was_not_answered_finds_that_entry() {
    let server = held();
    let first = now_us(&server) - 61_000_000;
    for at in [0, 1] {
        let entry = format!("{} {} 1 60000000 1000000 0", first + at, ClaimId::new(1, 8 + at));
        server.query::<u64>(&["RPUSH", &queue(), &entry]);
    }
    let told = Entry::Made(first + 1);
    let unanswered = ask(&server, 9, (told, 2));
    assert_eq!(ask(&server, 9, (Entry::Likely(first + 1, first + 1), 3)), unanswered);
    assert_eq!(waiting(&server), [8, 9, 9], "the first of them is over");
    assert_eq!(withdraw(&server, 9, Entry::Made(unanswered)), Ended::Released);
    assert_eq!(server.query::<u32>(&["EXISTS", &places()]), 0, "nor what later asks made of it");
}

#[test]
fn of_two_entries_of_a_claim_each_release_takes_one() {
    let server = held();
    // Its first ask arrives behind its second.
    let made = ask(&server, 1, (Entry::Unknown(0), 2));
    ask(&server, 2, (Entry::Absent, 1));
    let other = ask(&server, 1, (Entry::Absent, 1));
    assert_eq!(waiting(&server), [1, 2, 1]);
    assert_eq!(ask(&server, 1, (Entry::Made(other), 3)), other);
    // The two connections that carried them carry a release each.
    for left in [&[1, 2][..], &[2]] {
        assert_eq!(withdraw(&server, 1, Entry::Likely(made.max(other), 0)), Ended::Released);
        assert_eq!(waiting(&server), left);
    }
}

#[test]
fn who_asks_too_late_enters_anew_and_who_is_not_there_any_more_too() {
    let server = held();
    let late = now_us(&server) - 61_000_000;
    server.query::<u64>(&["RPUSH", &queue(), &format!("{late} {} 1 60000000 1000000 0", ClaimId::new(1, 9))]);
    let begun = fill(&server, &[0, 1, 2]);
    let made = ask(&server, 9, (Entry::Made(late), 2));
    assert!(made > begun + 2);
    assert_eq!(waiting(&server), [9, 1, 2, 3, 9]);
    assert_eq!(ask(&server, 9, (Entry::Made(made), 3)), made);
    server.query::<Vec<String>>(&["LPOP", &queue(), "2"]);
    assert!(ask(&server, 1, (Entry::Made(begun), 2)) > made, "the first has entered since");
    assert_eq!(waiting(&server), [2, 3, 9, 1]);
}

#[test]
fn an_entry_of_a_time_to_come_is_not_taken_to_be_there() {
    let server = held();
    // The clock went back since.
    let made = fill(&server, &[20_000_000]) + 20_000_000;
    assert!(ask(&server, 1, (Entry::Made(made), 2)) < made);
    assert_eq!(waiting(&server), [1, 1]);
    // Nor where another stands first, and what was made of the entry is still there.
    server.query::<()>(&["DEL", &queue()]);
    let made = fill(&server, &[0]) + 20_000_000;
    let id = ClaimId::new(1, 2);
    server.query::<u64>(&["HSET", &places(), &id.to_string(), &format!("{made} 2 1000000 1000000 0")]);
    assert!(ask(&server, 2, (Entry::Made(made), 3)) < made);
    assert_eq!(waiting(&server), [1, 2]);
}

#[tokio::test]
async fn who_has_asked_again_is_shown_as_long_as_that_place_lives() {
    let server = held();
    let client = Client::join(&server.url()).await;
    let (made, id) = (now_us(&server) - 61_000_000, ClaimId::new(1, 1));
    server.query::<u64>(&["RPUSH", &queue(), &format!("{made} {id} 1 60000000 1000000 0")]);
    let shown = async || client.engine.inspect(name("r"), client.within(PATIENCE)).await.unwrap().waiters.len();
    assert_eq!(shown().await, 0);
    for (then, expected) in [(made, 1), (made - 1, 0)] {
        server.query::<u64>(&["HSET", &places(), &id.to_string(), &format!("{then} 2 80000000 1000000 0")]);
        assert_eq!(shown().await, expected);
    }
}

#[test]
fn an_entry_that_was_not_lengthened_or_that_lost_this_stands_by_itself() {
    let server = held();
    let begun = fill(&server, &[0, 1]);
    assert_eq!(ask(&server, 1, (Entry::Made(begun), 2)), begun);
    server.query::<()>(&["DEL", &places()]);
    assert_eq!(ask(&server, 1, (Entry::Made(begun), 3)), begun);
    // Nor by what no client of ours wrote.
    server.query::<u64>(&["HSET", &places(), &ClaimId::new(1, 1).to_string(), &format!("{begun} foreign")]);
    assert_eq!(ask(&server, 1, (Entry::Made(begun), 4)), begun);
    assert_eq!(ask(&server, 2, (Entry::Made(begun + 1), 2)), begun + 1);
    assert_eq!(waiting(&server), [1, 2]);
}

#[test]
fn a_queue_whose_ends_are_out_of_order_since_the_clock_went_back_is_searched() {
    let server = held();
    let begun = fill(&server, &[5_000_000, 5_000_001, 2, 3]);
    assert_eq!(ask(&server, 3, (Entry::Made(begun + 2), 2)), begun + 2);
    assert_eq!(ask(&server, 1, (Entry::Made(begun + 5_000_000), 2)), begun + 5_000_000);
    assert_eq!(withdraw(&server, 4, Entry::Made(begun + 3)), Ended::Released);
    assert_eq!(waiting(&server), [1, 2, 3]);
}

#[test]
fn a_place_never_gets_shorter_and_keeps_its_largest_number_but_takes_the_rest_from_the_last_ask() {
    let (id, soon, long) = (ClaimId::new(1, 1), 20_000_000, 600_000_000);
    for (number, life) in [(9, long), (9, soon), (1, long), (1, soon)] {
        let server = held();
        let made = now_us(&server);
        server.query::<u64>(&["RPUSH", &queue(), &format!("{made} {id} 1 60000000 5 7")]);
        server.query::<u64>(&["HSET", &places(), &id.to_string(), &format!("{made} {number} {life} 5 7")]);
        let space = Space::new(Space::DEFAULT_PREFIX).unwrap();
        let ask = Ask { no: ReqNo(2), first: false, wait: true, spare: 16 };
        server.call(&claim(&space, &name("r"), (id, Entry::Made(made)), (lasting(), ask)));
        let place: String = server.query(&["HGET", &places(), &id.to_string()]);
        let [then, no, lasts, rest] = place.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{place}") };
        assert_eq!((then, no, rest), (&*made.to_string(), &*number.max(2).to_string(), "1000000 0 16"));
        let (lasts, least): (u64, u64) = (lasts.parse().unwrap(), lasting().place_life.as_micros().try_into().unwrap());
        assert!(if life == long { lasts == long } else { lasts >= least }, "{lasts} after {life}");
        for key in [queue(), places()] {
            assert!(server.query::<u64>(&["PEXPIRETIME", &key]) * 1_000 >= made + lasts, "{key:?}");
        }
    }
}

#[test]
fn a_place_that_is_over_is_not_revived_by_what_was_made_of_another_of_its_claim() {
    let server = held();
    let (made, id) = (now_us(&server) - 61_000_000, ClaimId::new(1, 1));
    server.query::<u64>(&["RPUSH", &queue(), &format!("{made} {id} 1 60000000 1000000 0")]);
    server.query::<u64>(&["HSET", &places(), &id.to_string(), &format!("{} 2 80000000 1000000 0", made - 1)]);
    assert!(ask(&server, 1, (Entry::Made(made), 3)) > made);
    assert_eq!(waiting(&server), [1, 1]);
}

#[test]
fn what_later_asks_made_of_places_lives_as_long_as_the_latest() {
    let server = held();
    let made = fill(&server, &[0]);
    let life: u64 = lasting().place_life.as_micros().try_into().unwrap();
    for number in [2, 3] {
        let before = now_us(&server);
        assert_eq!(ask(&server, 1, (Entry::Made(made), number)), made);
        let end = server.query::<u64>(&["PEXPIRETIME", &places()]) * 1_000;
        assert!((before + life..now_us(&server) + 2 * life + 1_000_000).contains(&end), "{before} {end}");
        // As if so much time had passed that the next place ends later than these.
        server.query::<()>(&["PEXPIRE", &places(), &(life / 1_000 - 1_000).to_string()]);
    }
}

/// A server on which the claim 1 holds, and others may wait.
fn held_by_one() -> RedisServer {
    let server = RedisServer::start();
    server.query::<()>(&["SET", "leasehold:r", &format!("{}+0", ClaimId::new(1, 1)), "PX", "60000"]);
    server
}

#[test]
fn who_is_handed_the_lock_holds_it_for_the_rest_of_its_place() {
    let (life, later) = (60_000_000, 80_000_000);
    for entry in [Entry::Absent, Entry::Unknown(0)] {
        // As it entered, as it asked later, and with what is left of another entry of the claim.
        for (made_then, expected) in [(None, life), (Some(1), later), (Some(0), life)] {
            let server = held_by_one();
            let begun = fill(&server, &[0, 1]);
            server.query::<()>(&["LPOP", &queue()]);
            let id = ClaimId::new(1, 2);
            if let Some(then) = made_then {
                let place = format!("{} 1 {later} 1000000 0", begun + then);
                server.query::<u64>(&["HSET", &places(), &id.to_string(), &place]);
            }
            assert_eq!(withdraw(&server, 1, entry), Ended::Released);
            assert_eq!(server.query::<String>(&["GET", "leasehold:r"]), format!("{id}+0"));
            let (end, place) = (server.query::<u64>(&["PEXPIRETIME", "leasehold:r"]) * 1_000, begun + 1 + expected);
            assert!((place..place + 5_000).contains(&end), "{entry:?} {made_then:?}: {end}, and the place ends at {place}");
            assert_eq!(server.query::<u32>(&["EXISTS", &places()]), u32::from(made_then == Some(0)));
        }
    }
}

#[test]
fn who_is_handed_the_lock_has_enough_of_its_place_left() {
    for entry in [Entry::Absent, Entry::Unknown(0)] {
        // What is left of the first place and what its claim wants to have left, in ms; who holds then, and who still waits.
        for (left, margin, holder, waits) in [(-5_000, 0, 3, vec![]), (9_000, 10_000, 3, vec![2]), (11_000, 10_000, 2, vec![3])] {
            let server = held_by_one();
            let now = now_us(&server);
            let made = now - 10_000_000;
            let life = 10_000_000_u64.checked_add_signed(left * 1_000).unwrap();
            for place in [format!("{life} {}", margin * 1_000), "60000000 1000000".to_owned()] {
                let claim = ClaimId::new(1, 2 + server.query::<u64>(&["LLEN", &queue()]));
                server.query::<u64>(&["RPUSH", &queue(), &format!("{made} {claim} 1 {place} 0")]);
            }
            assert_eq!(withdraw(&server, 1, entry), Ended::Released);
            assert_eq!(server.query::<String>(&["GET", "leasehold:r"]), format!("{}+0", ClaimId::new(1, holder)), "{left}");
            assert_eq!(waiting(&server), waits, "{left}");
        }
    }
}

#[test]
fn a_release_that_is_cut_short_still_holds_whether_the_first_waiter_is_dead_or_late() {
    for (life, margin) in [(1, 0), (15_000_000, 10_000_000)] {
        let server = held_by_one();
        let made = now_us(&server) - 10_000_000;
        let places = [(life, margin)].into_iter().chain([(1, 0); 100]).chain([(60_000_000, 0)]);
        for (serial, (life, margin)) in (2..).zip(places) {
            server.query::<u64>(&["RPUSH", &queue(), &format!("{made} {} 1 {life} {margin} 0", ClaimId::new(1, serial))]);
        }
        assert_eq!(withdraw(&server, 1, Entry::Absent), Ended::Again);
        assert_eq!(server.query::<String>(&["GET", "leasehold:r"]), format!("{}+0", ClaimId::new(1, 1)));
        assert_eq!(withdraw(&server, 1, Entry::Absent), Ended::Released);
        assert_eq!(server.query::<String>(&["GET", "leasehold:r"]), format!("{}+0", ClaimId::new(1, 103)));
    }
}

#[test]
fn who_is_handed_the_lock_is_told_the_counter_however_large_and_what_was_set_aside_behind_it() {
    for counter in [0, 9_999_998, 9_999_999, 1_699_999_999_999_999, (1 << 53) - 3] {
        let server = held_by_one();
        let space = Space::new(Space::DEFAULT_PREFIX).unwrap();
        server.query::<()>(&["SET", space.counter(), &counter.to_string()]);
        let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        let mut ear = connection.as_pubsub();
        ear.subscribe(space.channel(1)).unwrap();
        let now = now_us(&server);
        server.query::<u64>(&["RPUSH", &queue(), &format!("{now} {} 1 60000000 1000000 0 16", ClaimId::new(1, 2))]);
        assert_eq!(withdraw(&server, 1, Entry::Absent), Ended::Released);
        // None where the counter would overtake the clock.
        let spare = if counter < now { 16 } else { 0 };
        let granted = Push::Granted { claim: ClaimId::new(1, 2), ask: ReqNo(1), counter: counter + 1, spare };
        assert_eq!(Push::read(ear.get_message().unwrap().get_payload_bytes()), Some(granted));
        assert_eq!(server.query::<u64>(&["GET", space.counter()]), counter + 1 + u64::from(spare));
    }
}

#[test]
fn a_claim_that_gives_back_is_not_granted_by_an_entry_that_it_left_behind() {
    for entry in [Entry::Absent, Entry::Unknown(0)] {
        for others in [0, 1] {
            let server = held_by_one();
            fill(&server, &[0, 1][..=others]);
            assert_eq!(withdraw(&server, 1, entry), Ended::Released);
            let holder = server.query::<Option<String>>(&["GET", "leasehold:r"]);
            assert_eq!(holder, (others > 0).then(|| format!("{}+0", ClaimId::new(1, 2))), "{entry:?}");
            assert_eq!(server.query::<u32>(&["EXISTS", &queue()]), 0);
        }
    }
}

/// Who is told first: whoever has the lock next, once it has had some turns to send what it has to send, or the releaser.
async fn told_first(lock: &leasehold::Mutex, server: &RedisServer) -> &'static str {
    let held = lock.acquire().await.unwrap();
    let (order, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (next, its_order) = (lock.clone(), order.clone());
    let waits = tokio::spawn(async move {
        let guard = next.acquire().await.unwrap();
        let mut turns = 5;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            turns -= 1;
            if turns > 0 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        its_order.send("the holder").unwrap();
        guard.release().await.unwrap();
    });
    eventually("a waiter in the queue", || server.query::<u32>(&["LLEN", &queue()]) == 1).await;
    let releases = tokio::spawn(async move {
        held.release().await.unwrap();
        order.send("the releaser").unwrap();
    });
    waits.await.unwrap();
    releases.await.unwrap();
    told.recv().await.unwrap()
}

#[tokio::test]
async fn whoever_has_the_lock_next_runs_before_the_release_is_answered() {
    let server = RedisServer::start();
    let client = leasehold::Client::connect(&server.url()).await.unwrap();
    let lock = client.mutex("r").unwrap().cohort(false);
    let mut holders = 0;
    for _ in 0..9 {
        holders += u32::from(told_first(&lock, &server).await == "the holder");
    }
    // Not where the machine keeps this thread waiting for 25 ms.
    assert!(holders >= 5, "{holders} of 9");
}
